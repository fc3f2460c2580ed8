/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest agent: does what a plan says, one step after the other, and reports
 * every byte of output, every kernel log record and every ending on one stream.
 */
#ifndef HOTMIRROR_AGENT_H
#define HOTMIRROR_AGENT_H

#include <stdbool.h>
#include <stddef.h>

#define MAX_FIELDS	512

/*
 * The stream: lines of "<number> <milliseconds> <tag> <text>". Numbers count from
 * 1 without a gap, so a cut or lossy stream is seen by the reader. Control bytes
 * and backslashes in the text are escaped as \xHH.
 */
void stream_open(int fd);
void report(const char *tag, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_bytes(const char *tag, const char *data, size_t length);
void report_file(const char *tag, const char *path);
long now_ms(void);

/* /dev/kmsg, from the start of the boot or (running machine) from now on. */
void kmsg_open(bool from_now);
int kmsg_fd(void);
void kmsg_drain(void);
void kmsg_mark(const char *what, const char *name);

/* Output split into lines, so that a record never holds half of one. */
struct line_buffer {
	const char *tag;
	int fd;
	size_t used;
	char data[8192];
};

void line_buffer_read(struct line_buffer *buffer);
void line_buffer_report(struct line_buffer *buffer);
void line_buffer_flush(struct line_buffer *buffer);

/* The result stream cannot be written any more: powers off the guest, or exits. */
void agent_give_up(void);

/* How a program ended, as the "exit" record names it. */
enum ending { ENDED_EXIT, ENDED_SIGNAL, ENDED_TIMEOUT, ENDED_STUCK };

enum ending run_program(const char *name, const char *dir, long timeout_s, char **argv,
			bool split_output);

#endif
