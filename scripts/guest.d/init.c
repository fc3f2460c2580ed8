// SPDX-License-Identifier: GPL-2.0-only
/*
 * init of the guest's initramfs: load the modules of /modules.list, wait for the
 * disk, mount its read-only erofs image under a tmpfs overlay, keep /payload of
 * the initramfs visible inside it, and become the agent.
 *
 * Static and without a shell: under TCG every process costs milliseconds. A step
 * that fails says which on the console and powers off; the host sees a guest that
 * never reported and quotes the line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DISK		"/dev/vda"
#define DISK_WAIT_MS	60000

static void die(const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, fmt);
	fputs("hotmirror-init: ", stderr);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(ap);
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void mount_at(const char *type, const char *source, const char *target,
		     unsigned long flags, const char *options)
{
	mkdir(target, 0755);
	if (mount(source, target, type, flags, options))
		die("mount %s on %s", source, target);
}

/* File systems that a kernel may lack; what needs them says so by itself. */
static void try_mount(const char *type, const char *target)
{
	mkdir(target, 0755);
	mount(type, target, type, 0, NULL);
}

static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR);

	if (fd < 0)
		return;
	dup2(fd, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	if (fd > 2)
		close(fd);
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s", path);
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		die("load %s", path);
	close(fd);
}

static void load_modules(const char *list)
{
	FILE *file = fopen(list, "re");
	char line[256];

	if (!file)
		die("open %s", list);
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (line[0])
			load_module(line);
	}
	fclose(file);
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* devtmpfs reports new nodes through inotify; the watch comes before the look. */
static void wait_for_disk(void)
{
	long deadline = now_ms() + DISK_WAIT_MS;
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char events[4096];

	if (fd < 0 || inotify_add_watch(fd, "/dev", IN_CREATE) < 0)
		die("watch /dev");
	while (access(DISK, R_OK)) {
		long left = deadline - now_ms();

		if (left <= 0 || poll(&pfd, 1, left) < 0)
			die("wait for " DISK);
		while (read(fd, events, sizeof(events)) > 0)
			;
	}
	close(fd);
}

static void mount_root(void)
{
	mount_at("erofs", DISK, "/lower", MS_RDONLY, NULL);
	mount_at("tmpfs", "tmpfs", "/rw", 0, "mode=0755");
	mkdir("/rw/upper", 0755);
	mkdir("/rw/work", 0755);
	mount_at("overlay", "overlay", "/root", 0,
		 "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work");
	mkdir("/root/payload", 0755);
	if (mount("/payload", "/root/payload", NULL, MS_BIND, NULL))
		die("bind /payload");
	mkdir("/root/dev", 0755);
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL))
		die("move /dev");
}

static void enter_root(void)
{
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("switch root");
}

static void mount_kernel_file_systems(void)
{
	mount_at("proc", "proc", "/proc", 0, NULL);
	mount_at("sysfs", "sysfs", "/sys", 0, NULL);
	mount_at("tmpfs", "tmpfs", "/tmp", 0, "mode=1777");
	mount_at("tmpfs", "tmpfs", "/run", 0, "mode=0755");
	try_mount("devpts", "/dev/pts");
	try_mount("tmpfs", "/dev/shm");
	try_mount("debugfs", "/sys/kernel/debug");
	try_mount("tracefs", "/sys/kernel/tracing");
	try_mount("cgroup2", "/sys/fs/cgroup");
	try_mount("bpf", "/sys/fs/bpf");
	if (symlink("/proc/self/fd", "/dev/fd") && errno != EEXIST)
		die("link /dev/fd");
}

int main(void)
{
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	open_console();
	load_modules("/modules.list");
	wait_for_disk();
	mount_root();
	enter_root();
	mount_kernel_file_systems();
	execl("/payload/agent", "agent", "--vm", "/payload/plan", (char *)NULL);
	die("start /payload/agent");
}
