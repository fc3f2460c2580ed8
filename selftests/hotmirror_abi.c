// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules that every ioctl keeps (test_hotmirror_uapi.h): sizes, flags, reserved
 * members, pointers, and which kind of file takes it. One table row an ioctl; each
 * test does one thing to the struct of a call that would otherwise succeed.
 */
#include "hm_test.h"
#include "lib/gate.h"

#define ON_CONTROL	1
#define ON_INSTANCE	2
#define ON_GATE		4
#define MIRRORED_PAGES	2

/* The largest argument, and room for the ones that are too long. */
union arg {
	__u32 size;
	struct {
		__u32 size;
		__u32 flags;
	} head;
	struct hotmirror_query query;
	struct hotmirror_status status;
	struct hotmirror_plug plug;
	struct hotmirror_unplug unplug;
	struct hotmirror_settle settle;
	struct hotmirror_mirror mirror;
	struct hotmirror_access access;
	struct hotmirror_atomic atomic;
	struct hotmirror_pin pin;
	struct hotmirror_snapshot snapshot;
	struct hotmirror_migrate migrate;
	struct hotmirror_gate gate;
	struct hotmirror_gate_arm arm;
	struct hotmirror_entries entries;
	unsigned char bytes[1024];
};

FIXTURE(abi) {
	struct hm_rig rig;
	char *mem;		/* mirrored */
	char *buf;
	__u32 range;
	__u32 pin;
	int gate;
};

FIXTURE_VARIANT(abi) {
	unsigned int cmd;
	__u32 size;
	__u32 first;		/* size when it was first published, 0 if it has not grown */
	__u32 flags;		/* that are known */
	unsigned int files;
	__u64 needs;		/* HOTMIRROR_HAS_*, all of them */
	const char *lacking;	/* if it is not there */
	bool migrates;		/* needs memory to migrate to */
	size_t reserved;	/* offset of a reserved member, 0 if there is none */
	void (*fill)(union arg *arg, const FIXTURE_DATA(abi) *self);
};

typedef FIXTURE_DATA(abi) abi_data;

static void fill_none(union arg *arg, const abi_data *self)
{
}

static void fill_status(union arg *arg, const abi_data *self)
{
	arg->status.id = self->rig.id;
}

static void fill_plug(union arg *arg, const abi_data *self)
{
	arg->plug.kind = self->rig.kind;
	arg->plug.bytes = self->rig.bytes;
}

static void fill_unplug(union arg *arg, const abi_data *self)
{
	arg->unplug.id = self->rig.id;
	arg->unplug.target = HOTMIRROR_DISABLED;
	arg->unplug.timeout_ns = HM_LIMIT_NS;
}

static void fill_settle(union arg *arg, const abi_data *self)
{
	arg->settle.objects = -1U;
}

static void fill_mirror(union arg *arg, const abi_data *self)
{
	arg->mirror.addr = (uintptr_t)self->mem;
	arg->mirror.length = self->rig.page;
}

static void fill_unmirror(union arg *arg, const abi_data *self)
{
	arg->mirror.id = self->range;
}

static void fill_access(union arg *arg, const abi_data *self)
{
	arg->access.addr = (uintptr_t)self->mem;
	arg->access.length = self->rig.page;
	arg->access.buf = (uintptr_t)self->buf;
}

static void fill_prefetch(union arg *arg, const abi_data *self)
{
	fill_access(arg, self);
	arg->access.buf = 0;
}

static void fill_snapshot(union arg *arg, const abi_data *self)
{
	arg->snapshot.addr = (uintptr_t)self->mem;
	arg->snapshot.length = MIRRORED_PAGES * self->rig.page;
	arg->snapshot.buf = (uintptr_t)self->buf;
}

static void fill_atomic(union arg *arg, const abi_data *self)
{
	arg->atomic.addr = (uintptr_t)self->mem;
	arg->atomic.operand = 1;
}

static void fill_pin(union arg *arg, const abi_data *self)
{
	arg->pin.addr = (uintptr_t)self->mem;
	arg->pin.length = MIRRORED_PAGES * self->rig.page;
}

static void fill_unpin(union arg *arg, const abi_data *self)
{
	arg->pin.id = self->pin;
}

static void fill_migrate(union arg *arg, const abi_data *self)
{
	arg->migrate.addr = (uintptr_t)self->mem;
	arg->migrate.length = self->rig.page;
}

static void fill_entries(union arg *arg, const abi_data *self)
{
	arg->entries.addr = (uintptr_t)self->mem;
	arg->entries.length = MIRRORED_PAGES * self->rig.page;
	arg->entries.buf = (uintptr_t)self->buf;
}

static void fill_gate(union arg *arg, const abi_data *self)
{
	arg->gate.gate = HOTMIRROR_GATE_POPULATE_BEGIN;
}

static void fill_arm(union arg *arg, const abi_data *self)
{
	arg->arm.nth = 1;
	arg->arm.timeout_ns = 1;
}

#define ROW(name, CMD, type, ...)					\
FIXTURE_VARIANT_ADD(abi, name) {					\
	.cmd = HOTMIRROR_##CMD,						\
	.size = sizeof(struct hotmirror_##type),			\
	__VA_ARGS__							\
}

ROW(query, QUERY, query, .files = ON_CONTROL | ON_INSTANCE, .fill = fill_none,
    .first = HOTMIRROR_QUERY_SIZE_1);
ROW(status, STATUS, status, .files = ON_CONTROL | ON_INSTANCE, .fill = fill_status,
    .first = HOTMIRROR_STATUS_SIZE_1,
    .reserved = offsetof(struct hotmirror_status, reserved));
ROW(plug, PLUG, plug, .files = ON_CONTROL, .fill = fill_plug);
ROW(unplug, UNPLUG, unplug, .files = ON_CONTROL, .fill = fill_unplug,
    .flags = HOTMIRROR_UNPLUG_LOST,
    .reserved = offsetof(struct hotmirror_unplug, reserved));
ROW(settle, SETTLE, settle, .files = ON_CONTROL, .fill = fill_settle,
    .flags = HOTMIRROR_SETTLE_GONE);
ROW(mirror, MIRROR, mirror, .files = ON_INSTANCE, .fill = fill_mirror,
    .flags = HOTMIRROR_MIRROR_TWO_PASS,
    .reserved = offsetof(struct hotmirror_mirror, reserved));
ROW(unmirror, UNMIRROR, mirror, .files = ON_INSTANCE, .fill = fill_unmirror,
    .reserved = offsetof(struct hotmirror_mirror, reserved));
ROW(read, READ, access, .files = ON_INSTANCE, .fill = fill_access);
ROW(write, WRITE, access, .files = ON_INSTANCE, .fill = fill_access);
ROW(prefetch, PREFETCH, access, .files = ON_INSTANCE, .fill = fill_prefetch,
    .flags = HOTMIRROR_ACCESS_WRITE | HOTMIRROR_PREFETCH_BY_HMM);
ROW(atomic, ATOMIC, atomic, .files = ON_INSTANCE, .fill = fill_atomic,
    .flags = HOTMIRROR_ATOMIC_CAS, .needs = HOTMIRROR_HAS_EXCLUSIVE,
    .lacking = "kernel without CONFIG_DEVICE_PRIVATE: no device-exclusive access");
ROW(pin, PIN, pin, .files = ON_INSTANCE, .fill = fill_pin,
    .flags = HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_LONGTERM | HOTMIRROR_PIN_FAST |
    HOTMIRROR_PIN_GET, .reserved = offsetof(struct hotmirror_pin, reserved));
ROW(unpin, UNPIN, pin, .files = ON_INSTANCE, .fill = fill_unpin,
    .reserved = offsetof(struct hotmirror_pin, reserved));
ROW(snapshot, SNAPSHOT, snapshot, .files = ON_INSTANCE, .fill = fill_snapshot);
ROW(migrate_to_dev, MIGRATE_TO_DEV, migrate, .files = ON_INSTANCE,
    .fill = fill_migrate, .flags = HOTMIRROR_MIGRATE_LARGE, .migrates = true);
ROW(migrate_to_sys, MIGRATE_TO_SYS, migrate, .files = ON_INSTANCE,
    .fill = fill_migrate, .flags = HOTMIRROR_MIGRATE_LARGE, .migrates = true);
ROW(verify, VERIFY, verify, .files = ON_INSTANCE, .fill = fill_none);
ROW(stats, STATS, stats, .files = ON_INSTANCE, .fill = fill_none);
ROW(sabotage, SABOTAGE, sabotage, .files = ON_INSTANCE, .fill = fill_none,
    .needs = HOTMIRROR_HAS_SABOTAGE, .lacking = "module loaded without sabotage=1");
ROW(entries, ENTRIES, entries, .files = ON_INSTANCE, .fill = fill_entries);
ROW(gate_open, GATE_OPEN, gate, .files = ON_INSTANCE, .fill = fill_gate,
    .flags = HOTMIRROR_GATE_INSTANCE);
ROW(gate_arm, GATE_ARM, gate_arm, .files = ON_GATE, .fill = fill_arm,
    .flags = HOTMIRROR_GATE_ALLOW_EXIT,
    .reserved = offsetof(struct hotmirror_gate_arm, reserved));
ROW(gate_release, GATE_RELEASE, gate_release, .files = ON_GATE, .fill = fill_none);
ROW(gate_status, GATE_STATUS, gate_status, .files = ON_GATE, .fill = fill_none);

FIXTURE_SETUP(abi)
{
	RIG_SETUP(&self->rig, HM_ANY);
	if (variant->needs & ~self->rig.q.features)
		SKIP(return, "%s", variant->lacking);
	if (variant->migrates && self->rig.kind == HOTMIRROR_DAX)
		SKIP(return, "no private and no coherent memory on this kernel");
	self->mem = hm_map(MIRRORED_PAGES);
	self->buf = hm_map(MIRRORED_PAGES);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->buf);
	must(hm_mirror(self->rig.fd, self->mem, MIRRORED_PAGES * self->rig.page, 0,
		       &self->range));
	if (variant->cmd == HOTMIRROR_UNPIN)
		must(hm_pin(self->rig.fd, self->mem, self->rig.page, 0, &self->pin, NULL));
	self->gate = must(hm_gate_open(self->rig.fd, HOTMIRROR_GATE_ACCESS_BEGIN, 0));
}

FIXTURE_TEARDOWN(abi)
{
	rig_teardown(_metadata, &self->rig);
}

/* A struct with which the call succeeds. */
static void good(union arg *arg, const abi_data *self,
		 const FIXTURE_VARIANT(abi) *variant)
{
	memset(arg, 0, sizeof(*arg));
	arg->head.size = variant->size;
	variant->fill(arg, self);
}

/* The file that takes the ioctl, and the one that must not. */
static int right_file(const abi_data *self, const FIXTURE_VARIANT(abi) *variant)
{
	if (variant->files & ON_GATE)
		return self->gate;
	return variant->files & ON_CONTROL ? self->rig.control : self->rig.fd;
}

static int call(const abi_data *self, const FIXTURE_VARIANT(abi) *variant, union arg *arg)
{
	return hm_ioctl(right_file(self, variant), variant->cmd, arg);
}

/*
 * Too short is refused; the exact size is taken, and each that it once had; so is a
 * longer struct that asks for nothing new, and what the module does not know stays.
 */
TEST_F(abi, size_is_checked)
{
	static const int less[] = { 1, 4, 8 };
	__u32 first = variant->first ?: variant->size;
	union arg arg;

	for (size_t i = 0; i < ARRAY_SIZE(less); i++) {
		good(&arg, self, variant);
		arg.head.size = first - less[i];
		must_err(EINVAL, call(self, variant, &arg));
	}
	arg.head.size = 0;
	must_err(EINVAL, call(self, variant, &arg));

	for (__u32 size = first; size <= variant->size; size += 8) {
		good(&arg, self, variant);
		arg.head.size = size;
		must(call(self, variant, &arg));
		EXPECT_EQ(size, arg.size);
		/* Of what was added since, nothing is written. */
		if (variant->first)
			expect_zero(arg.bytes + size, variant->size - size);
	}
}

TEST_F(abi, zero_tail_is_accepted_and_untouched)
{
	union arg arg;

	good(&arg, self, variant);
	arg.head.size = sizeof(arg);
	must(call(self, variant, &arg));
	EXPECT_EQ(sizeof(arg), arg.size);
	expect_zero(arg.bytes + variant->size, sizeof(arg) - variant->size);
}

/* What the module does not know is refused: a tail, a flag, a reserved member. */
TEST_F(abi, unknown_content_is_refused)
{
	union arg arg;

	good(&arg, self, variant);
	arg.head.size = variant->size + 8;
	arg.bytes[variant->size + 7] = 1;
	must_err(E2BIG, call(self, variant, &arg));
	good(&arg, self, variant);
	arg.head.size = sizeof(arg);
	arg.bytes[sizeof(arg) - 1] = 1;
	must_err(E2BIG, call(self, variant, &arg));

	for (int bit = 0; bit < 32; bit++) {
		if (variant->flags & 1U << bit)
			continue;
		good(&arg, self, variant);
		arg.head.flags = 1U << bit;
		must_err(EINVAL, call(self, variant, &arg));
	}
	if (!variant->reserved)
		return;
	good(&arg, self, variant);
	arg.bytes[variant->reserved + 3] = 0x80;
	must_err(EINVAL, call(self, variant, &arg));
}

/* A kernel may lack what a flag asks for, but it knows the flag. */
TEST_F(abi, known_flags_are_known)
{
	union arg arg;

	for (int bit = 0; bit < 32; bit++) {
		if (!(variant->flags & 1U << bit))
			continue;
		good(&arg, self, variant);
		arg.head.flags = 1U << bit;
		EXPECT_NE(-EINVAL, call(self, variant, &arg))
			TH_LOG("flag %#x", 1U << bit);
	}
}

TEST_F(abi, bad_pointer_is_efault)
{
	int fd = right_file(self, variant);
	char *edge = hm_map(1) + self->rig.page;	/* then comes a guard page */
	__u32 size = variant->size;
	union arg arg;

	must_err(EFAULT, hm_ioctl(fd, variant->cmd, NULL));
	must_err(EFAULT, hm_ioctl(fd, variant->cmd, edge));
	must_err(EFAULT, hm_ioctl(fd, variant->cmd, (void *)-4096L));
	/* The size can be read, the rest cannot. */
	memcpy(edge - sizeof(size), &size, sizeof(size));
	must_err(EFAULT, hm_ioctl(fd, variant->cmd, edge - sizeof(size)));
	/* Everything can be read, the output cannot be written. */
	good(&arg, self, variant);
	memcpy(edge - self->rig.page, &arg, sizeof(arg));
	ASSERT_EQ(0, mprotect(edge - self->rig.page, self->rig.page, PROT_READ));
	must_err(EFAULT, hm_ioctl(fd, variant->cmd, edge - self->rig.page));
}

/* An ioctl is known on its own kind of file only. */
TEST_F(abi, wrong_kind_of_file_is_enotty)
{
	union arg arg;

	good(&arg, self, variant);
	if (!(variant->files & ON_CONTROL))
		must_err(ENOTTY, hm_ioctl(self->rig.control, variant->cmd, &arg));
	if (!(variant->files & ON_GATE))
		must_err(ENOTTY, hm_ioctl(self->gate, variant->cmd, &arg));
	if (!(variant->files & ON_INSTANCE))
		must_err(ENOTTY, hm_ioctl(self->rig.fd, variant->cmd, &arg));
	if (variant->files == (ON_CONTROL | ON_INSTANCE))
		must(hm_ioctl(self->rig.fd, variant->cmd, &arg));
}

FIXTURE(ioctl) {
	struct hm_rig rig;
};

FIXTURE_SETUP(ioctl)
{
	RIG_SETUP(&self->rig, HM_ANY);
}

FIXTURE_TEARDOWN(ioctl)
{
	rig_teardown(_metadata, &self->rig);
}

/* A bad number says so before anything else about the call is looked at. */
TEST_F(ioctl, unknown_number_is_enotty)
{
	static const unsigned int unknown[] = {
		HOTMIRROR_IO(0x02), HOTMIRROR_IO(0x13), HOTMIRROR_IO(0x2f),
		HOTMIRROR_IO(0xff), _IO(HOTMIRROR_IOC_TYPE - 1, 0x00),
		_IOWR(HOTMIRROR_IOC_TYPE, 0x00, struct hotmirror_query), 0, -1U,
	};
	struct hotmirror_query arg = { .size = sizeof(arg) };

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		must_err(ENOTTY, hm_ioctl(self->rig.control, unknown[i], &arg));
		must_err(ENOTTY, hm_ioctl(self->rig.fd, unknown[i], &arg));
		must_err(ENOTTY, hm_ioctl(self->rig.fd, unknown[i], NULL));
	}
}

/* "How far did it get" is answered on failure, too. */
TEST_F(ioctl, outputs_are_written_on_failure)
{
	struct hotmirror_access out = {};
	size_t page = self->rig.page;
	char *mem = hm_map(3);
	char buf[3 * page];

	ASSERT_NE(NULL, mem);
	must(hm_mirror(self->rig.fd, mem, 3 * page, 0, NULL));
	hm_fill(mem, 3 * page, 1);
	ASSERT_EQ(0, munmap(mem + 2 * page, page));
	must_err(EFAULT, hm_access(self->rig.fd, HOTMIRROR_READ, mem + 10, buf,
				   3 * page - 20, &out));
	EXPECT_EQ(2 * page - 10, out.done);
	EXPECT_LE(1, out.faults);
}

HM_TEST_MAIN
