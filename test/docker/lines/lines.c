/* lines FLAG COUNT is a web that writes COUNT lines to standard output once the file FLAG is there. Like many a program
 * it takes no notice of a write that fails. lines FLAG is a bot that does to its standard output and error what Node.js
 * does, and then makes FLAG. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void end(int signal) { (void)signal; _exit(0); }

int main(int argc, char **argv) {
	char line[256];
	signal(SIGTERM, end);
	if (argc == 2) {
		fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_NONBLOCK);
		fcntl(2, F_SETFL, fcntl(2, F_GETFL) | O_NONBLOCK);
		close(open(argv[1], O_CREAT | O_WRONLY, 0600));
	} else {
		while (access(argv[1], F_OK) != 0)
			usleep(1000);
		for (int i = 0; i < atoi(argv[2]); i++) {
			int n = sprintf(line, "web line %d %0200d\n", i, 0);
			if (write(1, line, n) < 0)
				continue;
		}
		fcntl(1, F_SETFL, fcntl(1, F_GETFL) & ~O_NONBLOCK);
		if (write(1, "web done\n", 9) < 0)
			return 1;
	}
	for (;;)
		pause();
}
