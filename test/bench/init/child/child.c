/* What the inits of `make bench-init` run, in C because a Go program takes longer to start than most of them.
 *
 *   child NAME MODE [ARG...]
 *   child                    the three words are in the file "command"
 *
 * Each thing worth knowing goes to the FIFO $BENCH_OUT as one line "NAME WHAT MONOTONIC REALTIME" (nanoseconds). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *name = "web";
static int out = -1;

struct stamp { struct timespec mono, real; };

static struct stamp now(void) {
	struct stamp s;
	clock_gettime(CLOCK_MONOTONIC, &s.mono);
	clock_gettime(CLOCK_REALTIME, &s.real);
	return s;
}

/* Without stdio, whose functions a signal handler may not call. */
static char *number(char *end, struct timespec t) {
	long long n = t.tv_sec * 1000000000LL + t.tv_nsec;
	do *--end = '0' + n % 10; while (n /= 10);
	return end;
}

static void say(const char *what, struct stamp s) {
	char line[256], digits[32], *p = line;
	if (out < 0) {
		const char *path = getenv("BENCH_OUT");
		if (!path || (out = open(path, O_WRONLY | O_CLOEXEC)) < 0) return;
	}
	digits[31] = 0;
	p = stpcpy(p, name); *p++ = ' ';
	p = stpcpy(p, what); *p++ = ' ';
	p = stpcpy(p, number(digits + 31, s.mono)); *p++ = ' ';
	p = stpcpy(p, number(digits + 31, s.real)); *p++ = '\n';
	if (write(out, line, p - line) < 0) _exit(99);
}

static void on(int sig, void (*f)(int)) {
	struct sigaction a = {.sa_handler = f, .sa_flags = SA_RESTART};
	sigaction(sig, &a, NULL);
}

static void nap(int ms) {
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	while (nanosleep(&t, &t) < 0) {}
}

static int grace;
static void stopped(int sig) {
	(void)sig;
	if (grace) { nap(grace); say("cleaned", now()); }
	_exit(0);
}
static void poked(int sig) { (void)sig; say("poked", now()); }

/* storm has n orphans end at the same instant and waits until init has collected each. The numbers of 5,000 of them
 * fit into a pipe. */
static void storm(int n) {
	int hold[2], numbers[2];
	pid_t *orphans = calloc(n, sizeof *orphans);
	if (pipe(hold) || pipe(numbers)) _exit(98);
	pid_t between = fork();
	if (between == 0) {
		for (int i = 0; i < n; i++) {
			pid_t p = fork();
			if (p == 0) {
				char c;
				close(hold[1]);
				_exit(read(hold[0], &c, 1) != 0);
			}
			if (p < 0 || write(numbers[1], &p, sizeof p) < 0) _exit(97);
		}
		_exit(0);
	}
	int status = 0;
	if (between < 0 || waitpid(between, &status, 0) < 0 || status) _exit(96);
	for (int i = 0; i < n; i++)
		if (read(numbers[0], &orphans[i], sizeof(pid_t)) < 0) _exit(95);
	struct stamp begin = now();
	close(hold[1]);
	for (int i = 0; i < n; i++)
		while (kill(orphans[i], 0) == 0) usleep(200);
	struct stamp end = now();
	say("released", begin);
	say("gone", end);
}

int main(int argc, char **argv) {
	struct stamp started = now();
	char words[3][64] = {"", "", ""}, *list[] = {argv[0], words[0], words[1], words[2], NULL};
	if (argc < 3) { /* s6 gives its programs no other words than the name */
		FILE *f = fopen("command", "r");
		if (!f) return 94;
		argc = 1 + fscanf(f, "%63s %63s %63s", words[0], words[1], words[2]);
		argv = list;
	}
	const char *mode = argc > 2 ? argv[2] : "idle";
	int arg = argc > 3 ? atoi(argv[3]) : 0;
	if (argc > 1) name = argv[1];
	if (!strcmp(mode, "exec")) { /* as PID 1 of a new namespace: become the init in question */
		mount("", "/", "", MS_REC | MS_PRIVATE, "");
		mount("proc", "/proc", "proc", 0, "");
		say("exec", now());
		execv(argv[3], argv + 3);
		say("failed", now());
		return 127;
	}
	say("started", started);
	if (!strcmp(mode, "obey")) on(SIGTERM, stopped);
	if (!strcmp(mode, "slow")) { grace = arg; on(SIGTERM, stopped); }
	if (!strcmp(mode, "stubborn")) on(SIGTERM, SIG_IGN);
	if (!strcmp(mode, "poke")) { on(SIGTERM, stopped); on(SIGUSR1, poked); }
	if (!strcmp(mode, "orphans")) {
		for (int i = 0; i < arg; i++) {
			pid_t between = fork();
			if (between == 0) {
				if (fork() == 0) { setsid(); nap(100); }
				_exit(0);
			}
			waitpid(between, NULL, 0);
		}
	}
	if (!strcmp(mode, "storm")) storm(arg);
	if (!strcmp(mode, "end")) {
		nap(argc > 4 ? atoi(argv[4]) : 0);
		_exit(arg);
	}
	if (!strcmp(mode, "flap") && access(argv[3], F_OK) != 0) _exit(1); /* until there is that file */
	say("ready", now());
	for (;;) pause();
}
