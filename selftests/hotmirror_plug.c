// SPDX-License-Identifier: GPL-2.0-only
/*
 * QUERY, PLUG and the device node: what may be plugged, what the limits are, and
 * that everything given is given back.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "hm_test.h"

/* A control file and nothing plugged; what is counted is the whole module's. */
FIXTURE(query) {
	struct hm_rig rig;
};

FIXTURE_SETUP(query)
{
	rig_begin(_metadata, variant, &self->rig);
	must(rig_settle(&self->rig));
}

FIXTURE_TEARDOWN(query)
{
	rig_end(_metadata, &self->rig);
}

TEST_F(query, reports_abi_version)
{
	EXPECT_EQ(HOTMIRROR_ABI_VERSION, self->rig.q.abi);
}

TEST_F(query, reports_geometry_of_this_machine)
{
	struct hotmirror_query *q = &self->rig.q;

	EXPECT_EQ(getpagesize(), q->page_size);
	EXPECT_LT(q->page_size, q->pmd_size);
	EXPECT_EQ(0, q->pmd_size & (q->pmd_size - 1));
	EXPECT_LT(0, q->plug_align);
	EXPECT_EQ(0, q->plug_align % q->page_size);
	EXPECT_LE(q->arena_free, q->arena_bytes);
}

TEST_F(query, has_no_unknown_feature)
{
	__u64 known = HOTMIRROR_HAS_PRIVATE | HOTMIRROR_HAS_COHERENT |
		      HOTMIRROR_HAS_DAX | HOTMIRROR_HAS_TWO_PASS |
		      HOTMIRROR_HAS_SABOTAGE | HOTMIRROR_HAS_EXCLUSIVE |
		      HOTMIRROR_HAS_LARGE | HOTMIRROR_HAS_DAX_PMD |
		      HOTMIRROR_HAS_URING | HOTMIRROR_HAS_LOST |
		      HOTMIRROR_HAS_GATES | HOTMIRROR_HAS_CORE_GATES |
		      HOTMIRROR_HAS_HMM_SLEEPS;

	EXPECT_EQ(0, self->rig.q.features & ~known);
}

TEST_F(query, arena_comes_with_the_kinds_that_need_it)
{
	__u64 needy = HOTMIRROR_HAS_COHERENT | HOTMIRROR_HAS_DAX;

	if (!self->rig.q.arena_bytes) {
		EXPECT_EQ(0, self->rig.q.features & needy);
		return;
	}
	EXPECT_NE(0, self->rig.q.features & HOTMIRROR_HAS_COHERENT);
}

TEST_F(query, counts_instances)
{
	__u32 before = self->rig.q.instances;

	if (!rig_plug(_metadata, &self->rig, HM_ANY))
		return;
	must(hm_query(self->rig.fd, &self->rig.q));
	EXPECT_EQ(before + 1, self->rig.q.instances);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_query(self->rig.control, &self->rig.q));
	EXPECT_EQ(before, self->rig.q.instances);
}

FIXTURE(plug) {
	struct hm_rig rig;
	const struct hm_kind *kind;
};

FIXTURE_VARIANT(plug) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(plug, private) { .kind = HOTMIRROR_PRIVATE };
FIXTURE_VARIANT_ADD(plug, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(plug, dax) { .kind = HOTMIRROR_DAX };

FIXTURE_SETUP(plug)
{
	rig_begin(_metadata, variant, &self->rig);
	must(rig_settle(&self->rig));
	self->kind = hm_kind(variant->kind);
}

FIXTURE_TEARDOWN(plug)
{
	rig_end(_metadata, &self->rig);
}

static bool has_kind(const FIXTURE_DATA(plug) *self)
{
	return self->rig.q.features & self->kind->feature;
}

TEST_F(plug, missing_kind_is_eopnotsupp)
{
	int ret = hm_plug(self->rig.control, variant->kind, self->rig.q.plug_align, NULL);

	EXPECT_EQ(has_kind(self) ? 0 : -EOPNOTSUPP, ret);
}

TEST_F(plug, status_is_as_plugged)
{
	struct hotmirror_status st;

	if (!rig_plug(_metadata, &self->rig, variant->kind))
		return;
	must(hm_status(self->rig.control, self->rig.id, &st));
	EXPECT_EQ(self->rig.id, st.id);
	EXPECT_EQ(variant->kind, st.kind);
	EXPECT_EQ(HOTMIRROR_LIVE, st.state);
	EXPECT_EQ(HOTMIRROR_LIVE, st.target);
	EXPECT_EQ(self->rig.bytes, st.bytes);
	EXPECT_EQ(variant->kind == HOTMIRROR_DAX ? self->rig.page : 0, st.align);
	EXPECT_EQ(self->rig.bytes / self->rig.page, st.pages);
	EXPECT_EQ(1, st.mirrors);
	EXPECT_EQ(0, st.readers + st.sleepers + st.pages_used + st.pages_held);
	EXPECT_LT(0, st.when_ns[HOTMIRROR_LIVE]);
	expect_zero(&st.when_ns[HOTMIRROR_DISABLED],
		    sizeof(st.when_ns) - sizeof(st.when_ns[0]));
	EXPECT_EQ(0, st.disabling_ns);
}

/* An instance file says the same as the control file, whatever id it is asked for. */
TEST_F(plug, instance_file_gives_its_own_status)
{
	struct hotmirror_status a, b;

	if (!rig_plug(_metadata, &self->rig, variant->kind))
		return;
	must(hm_status(self->rig.control, self->rig.id, &a));
	must(hm_status(self->rig.fd, self->rig.id + 1, &b));
	EXPECT_EQ(0, memcmp(&a, &b, sizeof(a)));
}

TEST_F(plug, bad_bytes_are_einval)
{
	__u64 align = self->rig.q.plug_align;
	const __u64 bad[] = {
		0, 1, self->rig.page, align - self->rig.page, align + self->rig.page,
		HOTMIRROR_MAX_BYTES + align, 1ULL << 63, -1ULL, -align,
	};

	skip_unless(has_kind(self), self->kind->lacking);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		must_err(EINVAL, hm_plug(self->rig.control, variant->kind, bad[i], NULL));
}

static int plug_aligned(const FIXTURE_DATA(plug) *self, __u64 align)
{
	struct hotmirror_plug arg = {
		.size = sizeof(arg),
		.kind = self->kind->kind,
		.bytes = self->rig.q.plug_align,
		.align = align,
	};

	return hm_ioctl(self->rig.control, HOTMIRROR_PLUG, &arg);
}

TEST_F(plug, bad_align_is_einval)
{
	const __u64 bad[] = { 1, self->rig.page - 1, self->rig.page + 1, 1ULL << 63, -1ULL };

	skip_unless(has_kind(self), self->kind->lacking);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		must_err(EINVAL, plug_aligned(self, bad[i]));
	must_err(EINVAL, plug_aligned(self, 2 * self->rig.page));
	must_err(EINVAL, plug_aligned(self, 2 * self->rig.q.pmd_size));
	if (variant->kind == HOTMIRROR_DAX) {
		must(plug_aligned(self, self->rig.page));
		must_err(self->rig.q.features & HOTMIRROR_HAS_DAX_PMD ? 0 : EOPNOTSUPP,
			 plug_aligned(self, self->rig.q.pmd_size));
		return;
	}
	must_err(EINVAL, plug_aligned(self, self->rig.page));
	must_err(EINVAL, plug_aligned(self, self->rig.q.pmd_size));
}

/* Different memory for every instance: same number, or same place in the arena. */
static bool overlap(const struct hotmirror_status *a, const struct hotmirror_status *b)
{
	if (a->id == b->id)
		return true;
	return a->kind != HOTMIRROR_PRIVATE &&
	       a->arena_offset < b->arena_offset + b->bytes &&
	       b->arena_offset < a->arena_offset + a->bytes;
}

TEST_F(plug, instances_do_not_overlap)
{
	struct hotmirror_status st[4];
	__u32 id;

	skip_unless(has_kind(self), self->kind->lacking);
	for (int i = 0; i < 4; i++) {
		must(hm_plug(self->rig.control, variant->kind, self->rig.q.plug_align, &id));
		must(hm_status(self->rig.control, id, &st[i]));
		EXPECT_EQ(id, st[i].id);
		for (int j = 0; j < i; j++)
			EXPECT_FALSE(overlap(&st[j], &st[i]));
	}
}

/* The memory that was reserved at boot, shared by the kinds that need real memory. */
FIXTURE(arena) {
	struct hm_rig rig;
};

FIXTURE_VARIANT(arena) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(arena, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(arena, dax) { .kind = HOTMIRROR_DAX };

FIXTURE_SETUP(arena)
{
	rig_begin(_metadata, variant, &self->rig);
	must(rig_settle(&self->rig));
	if (!(self->rig.q.features & hm_kind(variant->kind)->feature))
		SKIP(return, "%s", hm_kind(variant->kind)->lacking);
}

FIXTURE_TEARDOWN(arena)
{
	rig_end(_metadata, &self->rig);
}

/* Take what is left but @spare, then piece by piece; the error that ends it. */
static int eat(struct hm_rig *rig, __u32 kind, __u64 spare, __u64 *got)
{
	__u64 chunk = rig->q.arena_free - spare;
	int ret;

	while (!(ret = hm_plug(rig->control, kind, chunk, NULL))) {
		*got += chunk;
		chunk = rig->q.plug_align;
	}
	return ret;
}

TEST_F(arena, exhausted_is_enospc_and_all_of_it_comes_back)
{
	struct hotmirror_query *q = &self->rig.q;
	__u64 free = q->arena_free, got = 0;

	/* The bulk as coherent memory, which nobody has to fill with zeroes. */
	if (variant->kind == HOTMIRROR_DAX) {
		must(hm_plug(self->rig.control, HOTMIRROR_COHERENT,
			     free - 4 * q->plug_align, NULL));
		got = free - 4 * q->plug_align;
		must(hm_query(self->rig.control, q));
	}
	EXPECT_EQ(-ENOSPC, eat(&self->rig, variant->kind, 2 * q->plug_align, &got));
	EXPECT_EQ(free, got);
	must(hm_query(self->rig.control, q));
	EXPECT_EQ(0, q->arena_free);
	close(self->rig.control);
	self->rig.control = -1;
	must(rig_settle(&self->rig));
	EXPECT_EQ(free, q->arena_free);
}

/* Free memory in pieces is good for pieces only, and heals. */
TEST_F(arena, holes_are_used_and_joined)
{
	__u64 piece = self->rig.q.plug_align, free = self->rig.q.arena_free;
	struct hotmirror_status st;
	__u32 ids[3], id;
	__u64 offset;

	for (int i = 0; i < 3; i++)
		must(hm_plug(self->rig.control, variant->kind, piece, &ids[i]));
	must(hm_status(self->rig.control, ids[1], &st));
	offset = st.arena_offset;
	must(hm_unplug(self->rig.control, ids[1], HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_plug(self->rig.control, variant->kind, piece, &id));
	must(hm_status(self->rig.control, id, &st));
	EXPECT_EQ(offset, st.arena_offset);
	must(hm_query(self->rig.control, &self->rig.q));
	EXPECT_EQ(free - 3 * piece, self->rig.q.arena_free);
}

struct plugger {
	int control;
	__u32 kind, id;
	__u64 bytes;
};

static long plug_one(void *arg)
{
	struct plugger *p = arg;

	return hm_plug(p->control, p->kind, p->bytes, &p->id);
}

/* One gets it, whoever that is; the other is told so and has changed nothing. */
TEST_F(arena, last_piece_goes_to_one_of_two)
{
	__u64 piece = self->rig.q.plug_align;
	struct hm_async a[2];
	long result[2];

	must(hm_plug(self->rig.control, HOTMIRROR_COHERENT, self->rig.q.arena_free - piece,
		     NULL));
	for (int round = 0; round < 8; round++) {
		struct plugger p[2];

		for (int i = 0; i < 2; i++) {
			p[i] = (struct plugger){ self->rig.control, variant->kind, 0, piece };
			must(hm_async_start(&a[i], plug_one, &p[i]));
		}
		for (int i = 0; i < 2; i++)
			must(hm_async_join(&a[i], HM_LIMIT_MS, &result[i]));
		EXPECT_EQ(-ENOSPC, result[0] + result[1]);
		EXPECT_TRUE(!result[0] || !result[1]);
		must(hm_query(self->rig.control, &self->rig.q));
		EXPECT_EQ(0, self->rig.q.arena_free);
		must(hm_unplug(self->rig.control, p[!!result[0]].id, HOTMIRROR_GONE,
			       HM_LIMIT_MS));
	}
}

/* The device node of an instance. */
FIXTURE(node) {
	struct hm_rig rig;
};

FIXTURE_SETUP(node)
{
	rig_begin(_metadata, variant, &self->rig);
	must(rig_settle(&self->rig));
	if (!rig_plug(_metadata, &self->rig, HM_ANY))
		rig_end(_metadata, &self->rig);
}

FIXTURE_TEARDOWN(node)
{
	rig_teardown(_metadata, &self->rig);
}

TEST_F(node, unknown_kind_is_einval)
{
	static const __u32 bad[] = { 0, HOTMIRROR_DAX + 1, 0x10001, -1U };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		must_err(EINVAL, hm_plug(self->rig.control, bad[i], self->rig.bytes, NULL));
}

TEST_F(node, most_instances_then_enospc)
{
	__u32 n = self->rig.q.instances + 1;	/* that of the fixture */
	int ret;

	while (!(ret = hm_plug(self->rig.control, self->rig.kind, self->rig.bytes, NULL)))
		n++;
	EXPECT_EQ(-ENOSPC, ret);
	EXPECT_EQ(HOTMIRROR_MAX_INSTANCES, n);
}

TEST_F(node, unknown_instance_is_enoent)
{
	struct hotmirror_status st;

	must_err(ENOENT, hm_status(self->rig.control, self->rig.id + 1000, &st));
	must_err(ENOENT, hm_status(self->rig.control, -1U, &st));
	must_err(ENOENT, hm_unplug(self->rig.control, -1U, HOTMIRROR_GONE, 1));
	must_err(ENOENT, hm_open(self->rig.id + 1000));
}

TEST_F(node, another_control_file_does_not_own_it)
{
	struct hotmirror_status st;
	int other = must(hm_control_open());

	must_err(ENOENT, hm_status(other, self->rig.id, &st));
	must_err(ENOENT, hm_unplug(other, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	close(other);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_LIVE, st.state);
}

TEST_F(node, counts_its_open_files)
{
	struct hotmirror_status st;
	int second = must(hm_open(self->rig.id));
	int copy = dup(second);

	must(hm_status(self->rig.control, self->rig.id, &st));
	EXPECT_EQ(2, st.mirrors);
	close(second);
	must(hm_status(self->rig.control, self->rig.id, &st));
	EXPECT_EQ(2, st.mirrors);
	close(copy);
	must(hm_status(self->rig.control, self->rig.id, &st));
	EXPECT_EQ(1, st.mirrors);
}

TEST_F(node, is_a_character_device_that_goes_away)
{
	char path[64];
	struct stat s;

	snprintf(path, sizeof(path), HM_CONTROL "%u", self->rig.id);
	ASSERT_EQ(0, stat(path, &s));
	EXPECT_TRUE(S_ISCHR(s.st_mode));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(-1, stat(path, &s));
	EXPECT_EQ(ENOENT, errno);
}

/* Neither kind of file can be read or written as a stream. */
TEST_F(node, has_no_read_and_no_write)
{
	char byte = 0;

	EXPECT_EQ(-1, read(self->rig.fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->rig.fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, read(self->rig.control, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
}

HM_TEST_MAIN
