// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dev.h"
#include "nbd.h"
#include "setting.h"
#include "task.h"

#define BLOCK		sizeof(((struct hm_nbd *)0)->data)
#define NR_DISKS	16	/* that the module makes by itself */

static int all(ssize_t (*move)(int fd, void *buf, size_t n), int fd, void *buf, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t ret = move(fd, (char *)buf + at, n - at);

		if (ret <= 0)
			return -1;
		at += ret;
	}
	return 0;
}

static ssize_t give(int fd, void *buf, size_t n)
{
	return write(fd, buf, n);
}

/* One request from its arrival to its answer; nonzero: the device is gone. */
static int serve_one(struct hm_nbd *d, char *buf)
{
	struct nbd_reply reply = { .magic = htonl(NBD_REPLY_MAGIC) };
	struct nbd_request request;
	__u64 one = 1;
	size_t n;

	if (all(read, d->server, &request, sizeof(request)))
		return -1;
	n = ntohl(request.len);
	if (ntohl(request.type) == NBD_CMD_DISC || n > BLOCK)
		return -1;
	if (ntohl(request.type) == NBD_CMD_WRITE && all(read, d->server, d->data, n))
		return -1;
	if (write(d->arrived, &one, sizeof(one)) < 0 || read(d->answer, &one, sizeof(one)) < 0)
		return -1;
	memcpy(reply.handle, request.handle, sizeof(reply.handle));
	if (all(give, d->server, &reply, sizeof(reply)))
		return -1;
	memset(buf, HM_NBD_BYTE, n);
	return ntohl(request.type) == NBD_CMD_READ ? all(give, d->server, buf, n) : 0;
}

static void *serve(void *arg)
{
	struct hm_nbd *d = arg;
	char buf[BLOCK];

	while (!serve_one(d, buf))
		;
	return NULL;
}

static void *run_device(void *arg)
{
	struct hm_nbd *d = arg;

	ioctl(d->control, NBD_DO_IT);
	return NULL;
}

/* The first disk that has no server. */
static int attach(struct hm_nbd *d, size_t bytes)
{
	char path[32];

	for (int i = 0; i < NR_DISKS; i++) {
		snprintf(path, sizeof(path), "/dev/nbd%d", i);
		d->control = open(path, O_RDWR | O_CLOEXEC);
		if (d->control < 0)
			return -errno;
		if (!ioctl(d->control, NBD_SET_SOCK, d->theirs) &&
		    !ioctl(d->control, NBD_SET_BLKSIZE, BLOCK) &&
		    !ioctl(d->control, NBD_SET_SIZE_BLOCKS, bytes / BLOCK)) {
			d->disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
			return d->disk < 0 ? -errno : 0;
		}
		close(d->control);
	}
	return -EBUSY;
}

/* NBD_DO_IT gives the disk its size, and does not return: look until it has. */
static int wait_ready(struct hm_nbd *d, size_t bytes)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	__u64 size = 0;

	while (!ioctl(d->disk, BLKGETSIZE64, &size) && size != bytes) {
		if (!hm_left(deadline))
			return -ETIMEDOUT;
		hm_pause();
	}
	return size == bytes ? 0 : -errno;
}

int hm_nbd_start(struct hm_nbd *d, size_t bytes)
{
	int ends[2], ret;

	if (access("/dev/nbd0", F_OK))
		hm_modprobe("nbd", "max_part=0");
	if (access("/dev/nbd0", F_OK))
		return -ENODEV;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	d->server = ends[0];
	d->theirs = ends[1];
	d->arrived = eventfd(0, EFD_CLOEXEC);
	d->answer = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	ret = attach(d, bytes) ?: -pthread_create(&d->server_thread, NULL, serve, d);
	return ret ?: -pthread_create(&d->device_thread, NULL, run_device, d) ?:
	       wait_ready(d, bytes);
}

int hm_nbd_wait(struct hm_nbd *d)
{
	struct pollfd arrived = { .fd = d->arrived, .events = POLLIN };
	__u64 n;

	if (poll(&arrived, 1, HM_LIMIT_MS) != 1)
		return -ETIMEDOUT;
	return read(d->arrived, &n, sizeof(n)) < 0 ? -errno : 0;
}

void hm_nbd_answer(struct hm_nbd *d)
{
	__u64 one = 1;

	if (write(d->answer, &one, sizeof(one)) < 0)
		perror("eventfd");
}

void hm_nbd_stop(struct hm_nbd *d)
{
	shutdown(d->server, SHUT_RDWR);
	hm_nbd_answer(d);		/* wakes the server, if it stands */
	ioctl(d->control, NBD_DISCONNECT);
	ioctl(d->control, NBD_CLEAR_SOCK);
	pthread_join(d->server_thread, NULL);
	pthread_join(d->device_thread, NULL);
	close(d->disk);
	close(d->control);
	close(d->server);
	close(d->theirs);
	close(d->arrived);
	close(d->answer);
}
