// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest agent: agent --vm PLAN        in the guest, as init: reports on the
 *                                         virtio port, powers off at the end
 *                  agent --running PLAN   on a real machine: reports on stdout
 *
 * A plan is a line per step, fields separated by a tab:
 *
 *   write PATH TEXT                  write TEXT to PATH (a sysctl); a failure is a note
 *   load KO PARAMETERS               load a module; a failure ends the plan
 *   unload NAME                      unload it; a failure is reported
 *   run NAME DIR SECONDS ARGV...     a test program, stdout and stderr in one
 *   exec NAME DIR SECONDS ARGV...    a command, stdout and stderr apart
 *   env NAME VALUE                   environment of the programs that follow
 *
 * Records beside those of run.c and stream.c: "boot" (release, taint), "plan", "start",
 * "taint" after every step that may change it, "stop" with a reason when the plan
 * ends early, "bye" when it came to its end.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent.h"

#define RESULTS_PORT	"hotmirror.results"
#define PORTS		"/sys/class/virtio-ports"
#define PORT_WAIT_MS	30000
#define UNLOAD_WAIT_MS	5000
#define TAINT_DIE	(1UL << 7)

static unsigned long read_taint(void)
{
	FILE *file = fopen("/proc/sys/kernel/tainted", "re");
	unsigned long taint = 0;

	if (file) {
		if (fscanf(file, "%lu", &taint) != 1)
			taint = 0;
		fclose(file);
	}
	return taint;
}

static unsigned long report_taint(void)
{
	unsigned long taint = read_taint();

	report("taint", "%lu", taint);
	return taint;
}

static void report_boot(void)
{
	struct utsname name;

	uname(&name);
	report("boot", "%s %lu", name.release, read_taint());
}

static bool step_write(char **field)
{
	int fd = open(field[1], O_WRONLY | O_CLOEXEC);
	const char *text = field[2] ? field[2] : "";

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		report("note", "write %s: %s", field[1], strerror(errno));
	if (fd >= 0)
		close(fd);
	return true;
}

static bool step_load(char **field)
{
	const char *parameters = field[2] ? field[2] : "";
	int fd = open(field[1], O_RDONLY | O_CLOEXEC);
	long error = fd < 0 ? errno : 0;

	if (!error && syscall(SYS_finit_module, fd, parameters, 0))
		error = errno;
	if (fd >= 0)
		close(fd);
	kmsg_drain();
	report("load", "%s %s", error ? "failed" : "ok", field[1]);
	report_taint();
	if (error)
		report("stop", "module %s with '%s': %s", field[1], parameters, strerror(error));
	return !error;
}

/*
 * An instance that is still draining holds the module, and its end is no event
 * that one could wait for from here: ask again until the limit.
 */
static bool step_unload(char **field)
{
	long limit = now_ms() + UNLOAD_WAIT_MS;
	long error;

	for (;;) {
		error = syscall(SYS_delete_module, field[1], O_NONBLOCK) ? errno : 0;
		if ((error != EAGAIN && error != EBUSY) || now_ms() >= limit)
			break;
		poll(NULL, 0, 20);
	}
	kmsg_drain();
	report("unload", "%s: %s", field[1], error ? strerror(error) : "ok");
	report_taint();
	return true;
}

/* After an oops or with an unkillable task, what follows would prove nothing. */
static bool may_go_on(const char *name, enum ending ending)
{
	if (report_taint() & TAINT_DIE) {
		report("stop", "kernel oops during %s", name);
		return false;
	}
	if (ending == ENDED_STUCK) {
		report("stop", "%s cannot be killed", name);
		return false;
	}
	return true;
}

static bool run_step(char **field, bool split_output)
{
	enum ending ending;

	kmsg_mark("begin", field[1]);
	kmsg_drain();
	report("start", "%s", field[1]);
	ending = run_program(field[1], field[2], atol(field[3]), field + 4, split_output);
	return may_go_on(field[1], ending);
}

static bool step_run(char **field)
{
	return run_step(field, false);
}

static bool step_env(char **field)
{
	setenv(field[1], field[2], 1);
	return true;
}

static bool step_exec(char **field)
{
	return run_step(field, true);
}

static const struct step {
	const char *name;
	int min_fields;
	bool (*take)(char **field);
} steps[] = {
	{ "write", 2, step_write },
	{ "load", 2, step_load },
	{ "unload", 2, step_unload },
	{ "run", 5, step_run },
	{ "exec", 5, step_exec },
	{ "env", 3, step_env },
};

static bool take_step(char *line)
{
	char *field[MAX_FIELDS + 1] = { NULL };
	int count = 0;

	while (line && count < MAX_FIELDS)
		field[count++] = strsep(&line, "\t");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!strcmp(field[0], steps[i].name) && count >= steps[i].min_fields)
			return steps[i].take(field);
	report("stop", "the plan has a step that the agent does not know: %s", field[0]);
	return false;
}

static void follow_plan(const char *path)
{
	FILE *file = fopen(path, "re");
	bool go_on = file;
	char *line = NULL;
	size_t size = 0;

	if (!file)
		report("stop", "open %s: %s", path, strerror(errno));
	while (go_on && getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		go_on = !line[0] || take_step(line);
	}
	free(line);
	if (file)
		fclose(file);
	kmsg_drain();
	report("bye", "-");
}

/* The node of the port is numbered by probe order; its name is in sysfs. */
static int try_port(void)
{
	char path[300], name[64] = "";
	struct dirent *entry;
	DIR *dir = opendir(PORTS);
	int fd = -1;

	while (dir && fd < 0 && (entry = readdir(dir))) {
		FILE *file;

		snprintf(path, sizeof(path), PORTS "/%s/name", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && !strcmp(name, RESULTS_PORT "\n")) {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		fclose(file);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* The port may still be on its way; the watch is set before the look. */
static int open_port(void)
{
	long deadline = now_ms() + PORT_WAIT_MS;
	int watch = inotify_init1(IN_CLOEXEC);
	struct pollfd pfd = { .fd = watch, .events = POLLIN };
	char events[4096];
	int fd;

	inotify_add_watch(watch, "/dev", IN_CREATE | IN_ATTRIB);
	while ((fd = try_port()) < 0 && now_ms() < deadline)
		if (poll(&pfd, 1, 1000) > 0 && read(watch, events, sizeof(events)) < 0)
			break;
	close(watch);
	return fd;
}

static void set_environment(bool vm)
{
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("LANG", "C.UTF-8", 1);
	if (vm)
		setenv("HOME", "/root", 1);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static bool in_vm;

static void power_off(void)
{
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

void agent_give_up(void)
{
	if (in_vm)
		power_off();
	exit(3);
}

int main(int argc, char **argv)
{
	int fd = STDOUT_FILENO;

	in_vm = argc == 3 && !strcmp(argv[1], "--vm");
	if (argc != 3 || (!in_vm && strcmp(argv[1], "--running"))) {
		fprintf(stderr, "usage: agent --vm|--running PLAN\n");
		return 2;
	}
	set_environment(in_vm);
	if (in_vm)
		fd = open_port();
	if (fd < 0) {
		fprintf(stderr, "hotmirror-agent: no virtio port named " RESULTS_PORT "\n");
		power_off();
	}
	stream_open(fd);
	report_boot();
	kmsg_open(!in_vm);
	kmsg_drain();
	report("plan", "begin");
	follow_plan(argv[2]);
	if (in_vm)
		power_off();
	return 0;
}
