# SPDX-License-Identifier: GPL-2.0-or-later
"""The API between the daemon and the programs that ask it: schema and client."""
