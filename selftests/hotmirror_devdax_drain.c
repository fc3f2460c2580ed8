// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the core's drain waits for (claims S4, S5): memunmap_pages() of a real
 * device-dax, asked to go while somebody holds one of its pages. Our own driver does
 * not rely on it: it waits for every page and freezes them first (hotmirror_holders).
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/devdax.h"

FIXTURE(devdax_drain) {
	struct hm_rig rig;
	struct hm_devdax real;
	int fd;
	char *mem;
};

FIXTURE_VARIANT(devdax_drain) {
	bool huge;
};

FIXTURE_VARIANT_ADD(devdax_drain, pte) { .huge = false };
FIXTURE_VARIANT_ADD(devdax_drain, pmd) { .huge = true };

typedef FIXTURE_DATA(devdax_drain) data;

FIXTURE_SETUP(devdax_drain)
{
	const char *why;

	rig_begin(_metadata, variant, &self->rig);
	why = hm_devdax_get(&self->real, variant->huge);
	if (why) {
		rig_end(_metadata, &self->rig);
		SKIP(return, "%s", why);
	}
	self->fd = open(self->real.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd) TH_LOG("%s: %s", self->real.path, strerror(errno));
	self->mem = mmap(NULL, self->real.align, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	hm_fill(self->mem, hm_page_size(), 1);
}

FIXTURE_TEARDOWN(devdax_drain)
{
	rig_end(_metadata, &self->rig);
}

static long unbind(void *arg)
{
	data *self = arg;

	return hm_devdax_unbind(&self->real);
}

static const char *const hole =
	"memunmap_pages() does not wait for a held page: its struct page is gone under the holder";

/* How long a drain that nothing holds up may take at most; it takes a few grace periods. */
#define UNHELD_MS	(HM_LIMIT_MS / 2)

struct holder {
	int (*take)(data *self, struct holder *h);
	void (*release)(struct holder *h);
	struct hm_hold pipe;
	int other;		/* file of an instance of ours, which pins */
	__u32 pin;
};

static void count_late_put(const char *line, void *arg)
{
	*(int *)arg += strstr(line, "free_zone_device_folio") ||
			strstr(line, "free_zone_device_page");
}

/* The struct page of the held page was made anew meanwhile; now once more, for the next. */
static void clean_up(struct __test_metadata *_metadata, data *self)
{
	struct hm_devdax again;
	int expected = 0, bad;

	/* 6.1 and 6.12 warn of the late put (kmsg-allowed), 7.3 does not. */
	bad = hm_log_read(&test_log, count_late_put, &expected);
	EXPECT_EQ(expected, bad);
	must(hm_devdax_unbind(&self->real));
	EXPECT_EQ(NULL, hm_devdax_get(&again, self->real.align > self->rig.page));
	rig_xfail(_metadata, hole);
}

/*
 * If the unbind is over while the page is held, nobody may touch its struct page until
 * the device is bound again, which makes a new one in the same place. For a reference
 * of get_user_pages() that is as if it had been taken there; FOLL_PIN would be missed.
 */
static void unbind_while_held(struct __test_metadata *_metadata, data *self,
			      struct holder *h)
{
	struct hm_devdax again;
	struct hm_async a;
	long result = 0;
	bool waited;

	must(h->take(self, h));
	must(hm_async_start(&a, unbind, self));
	waited = hm_async_wait(&a, UNHELD_MS) == -ETIMEDOUT;
	/* A file that is open over a bind takes the new cdev along when it is closed. */
	munmap(self->mem, self->real.align);
	close(self->fd);
	if (!waited)
		EXPECT_EQ(NULL, hm_devdax_get(&again, self->real.align > self->rig.page));
	h->release(h);
	must(hm_async_join(&a, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	if (!waited)
		clean_up(_metadata, self);
}

static int take_pipe(data *self, struct holder *h)
{
	return hm_hold(&h->pipe, self->mem, self->rig.page);
}

static void release_pipe(struct holder *h)
{
	hm_unhold(&h->pipe);
}

TEST_F(devdax_drain, waits_for_a_page_in_a_pipe)
{
	struct holder h = { .take = take_pipe, .release = release_pipe };

	unbind_while_held(_metadata, self, &h);
}

static int take_get(data *self, struct holder *h)
{
	__u32 id;
	int ret = hm_plug(self->rig.control, hm_any_kind(&self->rig.q),
			  self->rig.q.plug_align, &id);

	if (ret)
		return ret;
	h->other = hm_open(id);
	return h->other < 0 ? h->other :
	       hm_pin(h->other, self->mem, self->rig.page, HOTMIRROR_PIN_GET, &h->pin, NULL);
}

static void release_get(struct holder *h)
{
	hm_unpin(h->other, h->pin);
	close(h->other);
}

TEST_F(devdax_drain, waits_for_a_page_of_get_user_pages)
{
	struct holder h = { .take = take_get, .release = release_get };

	unbind_while_held(_metadata, self, &h);
}

/* The control: nothing is held, and it does not wait. */
TEST_F(devdax_drain, ends_when_nothing_is_held)
{
	struct hm_async a;
	long result = 0;

	must(hm_async_start(&a, unbind, self));
	must(hm_async_wait(&a, UNHELD_MS));
	must(hm_async_join(&a, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	EXPECT_EQ(SIGBUS, hm_cpu_touch(self->mem));
}

HM_TEST_MAIN
