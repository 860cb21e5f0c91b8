/* still NAME [SECONDS] stands in a container for a process that needs next to nothing, not even a second thread: it says
 * that it is ready, ends with 0 at SIGTERM, and with 3 after SECONDS. With the name tty it reads from the terminal that
 * controls it first, if it has one. With the name slow it takes three seconds for its end, in which it is not paused. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int slow;

static void end(int signal) {
	for (; slow > 0; slow--)
		usleep(10000);
	_exit(signal == SIGTERM ? 0 : 3);
}

int main(int argc, char **argv) {
	if (argc > 1 && !strcmp(argv[1], "slow"))
		slow = 300;
	signal(SIGTERM, end);
	signal(SIGALRM, end);
	if (argc > 1 && !strcmp(argv[1], "tty")) {
		char c;
		int fd = open("/dev/tty", O_RDWR);
		if (fd >= 0)
			(void)!read(fd, &c, 1);
	}
	printf("%s ready\n", argc > 1 ? argv[1] : "still");
	fflush(stdout);
	if (argc > 2)
		alarm(atoi(argv[2]));
	for (;;)
		pause();
}
