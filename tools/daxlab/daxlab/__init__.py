# SPDX-License-Identifier: BSD-3-Clause
"""daxlab: real kernels with emulated persistent memory."""
