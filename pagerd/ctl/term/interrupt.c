#include "pagerd/ctl/term/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile int signalled; /* the signal's number */

static void note(int number)
{
	signalled = number;
}

const volatile int *interrupt_watch(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	/* No SA_RESTART: who waits in a system call is to look at the flag. */
	struct sigaction action = {
		.sa_handler = note,
		.sa_flags = (int)SA_RESETHAND,
	};
	struct sigaction before;

	(void)sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		/* nohup and background jobs have it ignored: so it stays. */
		(void)sigaction(numbers[i], NULL, &before);
		if (before.sa_handler != SIG_IGN)
			(void)sigaction(numbers[i], &action, NULL);
	}
	return &signalled;
}

int interrupt_status(void)
{
	return signalled ? 128 + signalled : 0;
}
