#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The fuzzer's corpus, replayed by the ordinary build.
exec ./tests/fuzz/replay "${srcdir:-.}/tests/fuzz/corpus"
