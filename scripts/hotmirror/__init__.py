# SPDX-License-Identifier: GPL-2.0-only
"""Guest, VM and judge of the hotmirror test suite (Python 3.11, standard library only)."""
