/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A disk that answers when it is told to: a network block device whose server is a
 * thread of the test. What it was asked to read or to write stays in flight until then.
 */
#ifndef HOTMIRROR_LIB_NBD_H
#define HOTMIRROR_LIB_NBD_H

#include <pthread.h>
#include <stddef.h>

struct hm_nbd {
	int disk;		/* /dev/nbdN, for O_DIRECT */
	int control;		/* the same, for what only the server asks */
	int server;		/* our end of the socket */
	int theirs;
	int arrived;		/* eventfd: requests that stand */
	int answer;		/* eventfd, semaphore: how many may be answered */
	char data[4096];	/* what the last request wrote */
	pthread_t device_thread;
	pthread_t server_thread;
};

/* Find a free one and start it; 0, -ENODEV (no nbd module), or another -errno. */
int hm_nbd_start(struct hm_nbd *d, size_t bytes);
/* Wait until a request stands at the server; -ETIMEDOUT. */
int hm_nbd_wait(struct hm_nbd *d);
/* Let one request be answered: read as bytes of 0x5a, written to nowhere. */
void hm_nbd_answer(struct hm_nbd *d);
/* Whatever is in flight fails. */
void hm_nbd_stop(struct hm_nbd *d);

#define HM_NBD_BYTE	0x5a

#endif /* HOTMIRROR_LIB_NBD_H */
