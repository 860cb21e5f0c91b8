/* still NAME [SECONDS] stands in a container for a process that needs next to nothing, not even a second thread: it says
 * that it is ready, ends with 0 at SIGTERM, and with 3 after SECONDS. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void end(int signal) { _exit(signal == SIGTERM ? 0 : 3); }

int main(int argc, char **argv) {
	signal(SIGTERM, end);
	signal(SIGALRM, end);
	printf("%s ready\n", argc > 1 ? argv[1] : "still");
	fflush(stdout);
	if (argc > 2)
		alarm(atoi(argv[2]));
	for (;;)
		pause();
}
