# SPDX-License-Identifier: GPL-2.0-or-later
"""The edges: kernel, sockets, files, journal. Each danger has one door here."""
