# SPDX-License-Identifier: BSD-3-Clause
"""Lets `python3 tools/daxlab ...` run the lab from a checkout or from where it is installed."""
import sys

sys.dont_write_bytecode = True

from daxlab.cli import main  # noqa: E402

sys.exit(main())
