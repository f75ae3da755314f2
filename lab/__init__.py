# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel with ESP to run commands in, network topologies with captures, and real peers. See lab/README.md."""
