// SPDX-License-Identifier: GPL-2.0-only
/* What the agent reports: numbered records, the kernel log, program output. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

static int stream_fd = -1;
static unsigned long stream_number;
static int kmsg = -1;

long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void stream_open(int fd)
{
	stream_fd = fd;
}

/* When the reader is gone, nobody is left to report to. */
static void write_all(const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(stream_fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			agent_give_up();
		data += n;
		length -= n;
	}
}

static size_t escape(char *out, const char *data, size_t length)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = data[i];

		if ((c >= ' ' && c != '\\' && c != 0x7f) || c == '\t')
			out[used++] = c;
		else
			used += sprintf(out + used, "\\x%02x", c);
	}
	return used;
}

void report_bytes(const char *tag, const char *data, size_t length)
{
	char line[4 * 8192 + 128];
	size_t used;

	used = sprintf(line, "%lu %ld %s ", ++stream_number, now_ms(), tag);
	used += escape(line + used, data, length < 8192 ? length : 8192);
	line[used++] = '\n';
	write_all(line, used);
}

void report(const char *tag, const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	report_bytes(tag, text, strlen(text));
}

/* A file of /proc or /sys, a record a line. */
void report_file(const char *tag, const char *path)
{
	FILE *file = fopen(path, "re");
	char line[1024];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		report_bytes(tag, line, strcspn(line, "\n"));
	fclose(file);
}

void kmsg_open(bool from_now)
{
	kmsg = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0)
		report("lost", "no kernel log: open /dev/kmsg: %s", strerror(errno));
	else if (from_now)
		lseek(kmsg, 0, SEEK_END);
}

int kmsg_fd(void)
{
	return kmsg;
}

/* One read() is one record; EPIPE says that records were overwritten unread. */
void kmsg_drain(void)
{
	char record[8192];

	while (kmsg >= 0) {
		ssize_t n = read(kmsg, record, sizeof(record));

		if (n > 0)
			report_bytes("kmsg", record, record[n - 1] == '\n' ? n - 1 : n);
		else if (n < 0 && errno == EPIPE)
			report("lost", "kernel log records were overwritten before they were read");
		else if (n >= 0 || errno != EINTR)
			return;
	}
}

void kmsg_mark(const char *what, const char *name)
{
	if (kmsg >= 0)
		dprintf(kmsg, "hotmirror-agent: %s %s\n", what, name);
}

static void emit_lines(struct line_buffer *buffer)
{
	char *start = buffer->data, *end = buffer->data + buffer->used, *newline;

	while ((newline = memchr(start, '\n', end - start))) {
		report_bytes(buffer->tag, start, newline - start);
		start = newline + 1;
	}
	buffer->used = end - start;
	memmove(buffer->data, start, buffer->used);
}

void line_buffer_flush(struct line_buffer *buffer)
{
	if (buffer->used)
		report_bytes(buffer->tag, buffer->data, buffer->used);
	buffer->used = 0;
}

/*
 * Takes what is there and closes the descriptor at its end. Nothing is reported
 * yet: the kernel log is drained between reading and reporting, so that a line is
 * never ahead of a kernel message that was there when the line was written.
 */
void line_buffer_read(struct line_buffer *buffer)
{
	ssize_t n;

	if (buffer->used == sizeof(buffer->data))
		line_buffer_flush(buffer);
	n = read(buffer->fd, buffer->data + buffer->used, sizeof(buffer->data) - buffer->used);
	if (n > 0) {
		buffer->used += n;
	} else if (!n || (errno != EAGAIN && errno != EINTR)) {
		close(buffer->fd);
		buffer->fd = -1;
	}
}

/* Reports the complete lines; at the end of the output, the last one as well. */
void line_buffer_report(struct line_buffer *buffer)
{
	emit_lines(buffer);
	if (buffer->fd < 0)
		line_buffer_flush(buffer);
}
