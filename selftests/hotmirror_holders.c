// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that can hold a page of device memory, across the steps of unplug (claims
 * S4, S5): what it holds stays its own, the drain tells how much it waits for, ends
 * exactly when the last holder lets go, and nobody can take a new reference meanwhile.
 *
 * To add a holder, write take() (one page, held when it returns), release() (let go,
 * and say whether the data was its own to the end), again() (try to take a page and
 * give it back at once), say how it holds (by a pin or a plain reference), and give all
 * that to across_unplug() in a test.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "hm_test.h"
#include "lib/nbd.h"
#include "lib/setting.h"

#define SEED	1

enum { HELD, PRESENT, MISSING, PAGES };

FIXTURE(holders) {
	struct hm_rig rig;
	__u32 other_id;
	int other;		/* file of another instance: who pins, pins through it */
	size_t page, length;
	char *mem;		/* PAGES in device memory; dax: the last was never touched */
	char *copy;		/* what is in it */
	/* of the holders */
	__u32 pin;
	struct hm_hold pipe;
	struct hm_nbd disk;
	struct hm_async io;
	int uffd;
	char *buf;
};

FIXTURE_VARIANT(holders) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(holders, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(holders, dax) { .kind = HOTMIRROR_DAX };

typedef FIXTURE_DATA(holders) data;

/* All return 0 or a negative errno. */
struct holder {
	int (*take)(data *self, char *page);
	int (*release)(data *self);
	int (*again)(data *self, char *page);
	bool pins;		/* by pin_user_pages(), not by get_user_pages() */
	bool direct;		/* direct I/O, which pins since 6.5 only */
	const char *lacking;	/* what ENODEV of take() means */
};

static char *page_at(data *self, int i)
{
	return self->mem + i * self->page;
}

FIXTURE_SETUP(holders)
{
	RIG_SETUP(&self->rig, variant->kind);
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = variant->kind == HOTMIRROR_DAX ?
		    mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->rig.fd, 0) : hm_map(PAGES);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_NE(NULL, self->mem);
	self->copy = hm_map(PAGES);
	self->buf = hm_map(PAGES);
	hm_fill(self->copy, self->length, SEED);
	memcpy(self->mem, self->copy, MISSING * self->page);
	if (variant->kind == HOTMIRROR_COHERENT)
		must(hm_to_dev(self->rig.fd, self->mem, MISSING * self->page, NULL));
	must(hm_plug(self->rig.control, hm_any_kind(&self->rig.q), self->rig.bytes,
		     &self->other_id));
	self->other = must(hm_open(self->other_id));
}

FIXTURE_TEARDOWN(holders)
{
	close(self->other);
	rig_teardown(_metadata, &self->rig);
}

static int status(data *self, struct hotmirror_status *st)
{
	return hm_status(self->rig.fd, 0, st);
}

static int unplug(data *self, __u32 target, unsigned int limit_ms)
{
	return hm_unplug(self->rig.control, self->rig.id, target, limit_ms);
}

/*
 * The kind of what STATUS counts. Of the mappings only those that this kernel counts:
 * a PTE of dax memory had no reference and no mapcount before 6.15.
 */
static void expect_kind(struct __test_metadata *_metadata, data *self,
			const struct holder *h, __u64 mapped)
{
	bool pins = h->pins || (h->direct && !hm_kernel_before(6, 5));
	struct hotmirror_status st;

	must(status(self, &st));
	EXPECT_EQ(pins, st.pages_pinned);
	if (self->rig.kind != HOTMIRROR_DAX || st.pages_mapped)
		EXPECT_EQ(mapped, st.pages_mapped);
	EXPECT_TRUE(pins ? st.references > st.pages_mapped + 1 :
			      st.references == st.pages_mapped + 1)
		TH_LOG("%llu references, %llu of them mappings", st.references,
		       st.pages_mapped);
}

static void expect_nobody(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_status st;

	must(status(self, &st));
	EXPECT_EQ(0, st.pages_held);
	EXPECT_EQ(0, st.pages_pinned);
	EXPECT_EQ(0, st.pages_mapped);
	EXPECT_EQ(0, st.references);
}

/* What is asked for at each step: a page that is mapped, and one that never was. */
static void expect_again(struct __test_metadata *_metadata, data *self,
			 const struct holder *h, int present, int missing)
{
	if (!h->again)
		return;
	EXPECT_EQ(present, h->again(self, page_at(self, PRESENT)));
	if (self->rig.kind == HOTMIRROR_DAX)
		EXPECT_EQ(missing, h->again(self, page_at(self, MISSING)));
}

static void across_unplug(struct __test_metadata *_metadata, data *self,
			  const struct holder *h)
{
	/* What was anonymous before it went to the device is so again. */
	bool refused = self->rig.kind == HOTMIRROR_DAX;
	struct hotmirror_status st;
	int ret = h->take(self, page_at(self, HELD));

	if (ret == -ENODEV)
		SKIP(return, "%s", h->lacking);
	must(ret);
	expect_nobody(_metadata, self);		/* not counted yet */
	must(unplug(self, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	expect_kind(_metadata, self, h, MISSING);
	expect_again(_metadata, self, h, 0, -EFAULT);
	must(unplug(self, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	expect_kind(_metadata, self, h, refused ? 0 : 1);
	expect_again(_metadata, self, h, refused ? -EFAULT : 0, -EFAULT);
	must(unplug(self, HOTMIRROR_DRAINING, HM_LIMIT_MS));
	must(status(self, &st));
	EXPECT_EQ(1, st.pages_held);
	expect_kind(_metadata, self, h, refused ? 0 : 1);
	expect_again(_metadata, self, h, refused ? -EFAULT : 0, -EFAULT);

	must_err(ETIMEDOUT, unplug(self, HOTMIRROR_GONE, 20));
	must(status(self, &st));
	EXPECT_EQ(HOTMIRROR_DRAINING, st.state);
	EXPECT_EQ(1, st.pages_held);
	EXPECT_FALSE(hm_is_gone(self->rig.fd));
	EXPECT_EQ(0, h->release(self));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	expect_nobody(_metadata, self);
	if (!refused)
		EXPECT_EQ(0, memcmp(self->copy, self->mem, MISSING * self->page));
}

/* ---- the module's own pins, by another instance ---- */

static int take_pin(data *self, char *page, __u32 flags)
{
	return hm_pin(self->other, page, self->page, flags, &self->pin, NULL);
}

static int release_pin(data *self)
{
	struct hotmirror_pin pin = { .size = sizeof(pin), .id = self->pin };
	int ret = hm_ioctl(self->other, HOTMIRROR_UNPIN, &pin);
	__u64 word;

	memcpy(&word, self->copy, sizeof(word));
	return ret ?: pin.word == word ? 0 : -EBADMSG;
}

static int again_pin(data *self, char *page, __u32 flags)
{
	__u32 id;
	int ret = hm_pin(self->other, page, self->page, flags, &id, NULL);

	return ret ?: hm_unpin(self->other, id);
}

static int take_slow(data *self, char *page)
{
	return take_pin(self, page, HOTMIRROR_PIN_WRITE);
}

static int again_slow(data *self, char *page)
{
	return again_pin(self, page, HOTMIRROR_PIN_WRITE);
}

static int take_fast(data *self, char *page)
{
	return take_pin(self, page, HOTMIRROR_PIN_FAST);
}

static int again_fast(data *self, char *page)
{
	return again_pin(self, page, HOTMIRROR_PIN_FAST);
}

static int take_longterm(data *self, char *page)
{
	return take_pin(self, page, HOTMIRROR_PIN_LONGTERM);
}

static int again_longterm(data *self, char *page)
{
	return again_pin(self, page, HOTMIRROR_PIN_LONGTERM);
}

static int take_get(data *self, char *page)
{
	return take_pin(self, page, HOTMIRROR_PIN_GET);
}

static int again_get(data *self, char *page)
{
	return again_pin(self, page, HOTMIRROR_PIN_GET);
}

TEST_F(holders, pin)
{
	static const struct holder h = {
		.take = take_slow,
		.release = release_pin,
		.again = again_slow,
		.pins = true,
	};

	across_unplug(_metadata, self, &h);
}

TEST_F(holders, pin_fast)
{
	static const struct holder h = {
		.take = take_fast,
		.release = release_pin,
		.again = again_fast,
		.pins = true,
	};

	across_unplug(_metadata, self, &h);
}

TEST_F(holders, get)
{
	static const struct holder h = {
		.take = take_get,
		.release = release_pin,
		.again = again_get,
	};

	across_unplug(_metadata, self, &h);
}

/* Coherent memory is left for ordinary memory before it is pinned for long. */
TEST_F(holders, longterm_pin)
{
	static const struct holder h = {
		.take = take_longterm,
		.release = release_pin,
		.again = again_longterm,
		.pins = true,
	};
	struct hotmirror_status st;

	if (variant->kind == HOTMIRROR_DAX) {
		across_unplug(_metadata, self, &h);
		return;
	}
	must(take_longterm(self, page_at(self, HELD)));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(status(self, &st));
	EXPECT_EQ(0, st.pages_held);
	EXPECT_EQ(0, release_pin(self));
}

/* ---- a pipe ---- */

static int take_pipe(data *self, char *page)
{
	return hm_hold(&self->pipe, page, self->page);
}

static int release_pipe(data *self)
{
	ssize_t n = read(self->pipe.pipe[0], self->buf, self->page);
	int ret = n < 0 ? -errno : (size_t)n != self->page ? -EPROTO : 0;

	hm_unhold(&self->pipe);
	return ret ?: memcmp(self->buf, self->copy, self->page) ? -EBADMSG : 0;
}

static int again_pipe(data *self, char *page)
{
	struct hm_hold hold;
	int ret = hm_hold(&hold, page, self->page);

	if (!ret)
		hm_unhold(&hold);
	return ret;
}

TEST_F(holders, pipe)
{
	static const struct holder h = {
		.take = take_pipe,
		.release = release_pipe,
		.again = again_pipe,
	};

	across_unplug(_metadata, self, &h);
}

/* ---- O_DIRECT, in flight to a disk that does not answer ---- */

static long disk_write(void *arg)
{
	data *self = arg;

	return pwrite(self->disk.disk, page_at(self, HELD), self->page, 0) < 0 ? -errno : 0;
}

static long disk_read(void *arg)
{
	data *self = arg;

	return pread(self->disk.disk, page_at(self, HELD), self->page, 0) < 0 ? -errno : 0;
}

static int take_disk(data *self, long (*io)(void *arg))
{
	return hm_nbd_start(&self->disk, 16 * self->page) ?:
	       hm_async_start(&self->io, io, self) ?: hm_nbd_wait(&self->disk);
}

static int take_disk_write(data *self, char *page)
{
	return take_disk(self, disk_write);
}

static int take_disk_read(data *self, char *page)
{
	return take_disk(self, disk_read);
}

static int release_disk(data *self)
{
	long result = 0;
	int ret;

	hm_nbd_answer(&self->disk);
	ret = hm_async_join(&self->io, HM_LIMIT_MS, &result);
	hm_nbd_stop(&self->disk);
	return ret ?: result;
}

static int release_disk_write(data *self)
{
	return release_disk(self) ?:
	       memcmp(self->disk.data, self->copy, self->page) ? -EBADMSG : 0;
}

/* The answer is written where nobody looks any more, and into nothing else. */
static int release_disk_read(data *self)
{
	int ret = release_disk(self);

	memset(self->copy, HM_NBD_BYTE, self->page);
	return ret;
}

#define NO_NBD	"no network block device: kernel without CONFIG_BLK_DEV_NBD"

TEST_F(holders, direct_write_in_flight)
{
	static const struct holder h = {
		.take = take_disk_write,
		.release = release_disk_write,
		.direct = true,
		.lacking = NO_NBD,
	};

	across_unplug(_metadata, self, &h);
}

TEST_F(holders, direct_read_in_flight)
{
	static const struct holder h = {
		.take = take_disk_read,
		.release = release_disk_read,
		.direct = true,
		.lacking = NO_NBD,
	};

	across_unplug(_metadata, self, &h);
}

/* ---- process_vm_readv(), asleep in the fault of its destination ---- */

static long copy_out(void *arg)
{
	data *self = arg;

	return hm_gup_read(page_at(self, HELD), self->buf, self->page);
}

static int take_copy(data *self, char *page)
{
	struct hm_fault fault;
	int ret;

	self->uffd = hm_uffd_open();
	if (self->uffd < 0)
		return -ENODEV;
	ret = hm_uffd_register(self->uffd, self->buf, self->length, false);
	return ret ?: hm_async_start(&self->io, copy_out, self) ?:
	       hm_uffd_wait(self->uffd, &fault);
}

static int release_copy(data *self)
{
	long result = 0;
	int ret;

	/* Something else than what is to be copied. */
	ret = hm_uffd_copy(self->uffd, self->buf, self->copy + self->page, self->page) ?:
	      hm_async_join(&self->io, HM_LIMIT_MS, &result);
	close(self->uffd);
	return ret ?: result ?: memcmp(self->buf, self->copy, self->page) ? -EBADMSG : 0;
}

static int again_copy(data *self, char *page)
{
	char byte;

	return hm_gup_read(page, &byte, 1);
}

TEST_F(holders, process_vm_readv)
{
	static const struct holder h = {
		.take = take_copy,
		.release = release_copy,
		.again = again_copy,
		.pins = true,
		.lacking = "no userfaultfd for kernel faults",
	};

	across_unplug(_metadata, self, &h);
}

/* ---- what holds no page, hence nothing up ---- */

static int touch_when_told(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_tell(p, hm_cpu_touch(page_at(self, HELD)));
	hm_hear(p);
	hm_tell(p, hm_cpu_touch(page_at(self, HELD)));
	return hm_hear(p);
}

/* It cannot be asked to let go, and need not be: it finds out when it goes on. */
TEST_F(holders, stopped_process_does_not_hold)
{
	struct hm_child c;
	long sig;

	must(hm_child_start(&c, touch_when_told, self));
	must(hm_child_hear(&c, &sig));
	EXPECT_EQ(0, sig);
	must(hm_child_kill(&c, SIGSTOP));
	while (hm_task_state(c.pid) != 'T')
		hm_pause();
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_child_kill(&c, SIGCONT));
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &sig));
	EXPECT_EQ(variant->kind == HOTMIRROR_DAX ? SIGBUS : 0, sig);
	hm_child_end(&c);
}

static int send_fd(int socket, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec io = { "", 1 };
	struct msghdr msg = {
		.msg_iov = &io, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) < 0 ? -errno : 0;
}

static int receive_fd(int socket)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec io = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &io, .msg_iovlen = 1,
		.msg_control = room, .msg_controllen = sizeof(room),
	};
	int fd;

	if (recvmsg(socket, &msg, 0) < 0)
		return -errno;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* Files of the instance and of its mappings may be anywhere. */
TEST_F(holders, file_in_a_socket_does_not_hold)
{
	struct hotmirror_status st;
	int ends[2], fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	must(send_fd(ends[0], self->rig.fd));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	fd = must(receive_fd(ends[1]));
	must(hm_status(fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_GONE, st.state);
	must_err(ENODEV, hm_prefetch(fd, self->copy, self->page, false));
	if (variant->kind == HOTMIRROR_DAX) {
		EXPECT_EQ(MAP_FAILED, mmap(NULL, self->page, PROT_READ, MAP_SHARED, fd, 0));
		EXPECT_EQ(ENXIO, errno);
	}
	close(fd);
	close(ends[0]);
	close(ends[1]);
}

HM_TEST_MAIN
