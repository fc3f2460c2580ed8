/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Settings of the machine that some memory needs: numbers in /proc/sys and /sys,
 * and swap space. What a test changes it puts back.
 */
#ifndef HOTMIRROR_LIB_SETTING_H
#define HOTMIRROR_LIB_SETTING_H

#include <stdbool.h>

/*
 * Whether the kernel is older than a version: for bugs that one of its time had, and for
 * what it does otherwise without saying so. What can be asked for is asked for instead.
 */
bool hm_kernel_before(unsigned int major, unsigned int minor);

/* A number in a file, as it was; before: -1: not changed. */
struct hm_setting {
	const char *path;
	long before;
};

/* The same of a line of text. */
struct hm_text {
	const char *path;
	char before[256];	/* empty: not changed */
};

int hm_text_set(struct hm_text *t, const char *path, const char *text);
void hm_text_restore(struct hm_text *t);

long hm_setting_get(const char *path);
/* Write @value and remember what was there; 0 or -errno. */
int hm_setting_set(struct hm_setting *s, const char *path, long value);
void hm_setting_restore(struct hm_setting *s);

/*
 * Have @pages huge pages that are free, beside those in use: a memory error takes one for
 * ever. 0 or -errno.
 */
int hm_huge_pool(struct hm_setting *s, long pages);

/* Write a line to a file in /proc or /sys, as it is; 0 or -errno. */
int hm_put_text(const char *path, const char *text);
/* Load a module of the kernel, with one parameter or NULL; 0, -ENODEV or -errno. */
int hm_modprobe(const char *module, const char *parameter);

/*
 * Have swap space, on a zram device of our own if the machine has none. 0 or
 * -errno; hm_swap_off() takes away what this process made, and nothing else.
 */
int hm_swap_on(void);
void hm_swap_off(void);

#endif /* HOTMIRROR_LIB_SETTING_H */
