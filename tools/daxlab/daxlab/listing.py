# SPDX-License-Identifier: BSD-3-Clause
"""`daxlab kernels`: what can be had, and what is cached."""
import json

from . import kernels as kernel_store
from . import progress
from .apt import Apt
from .cache import Cache, tree_mib
from .errors import LabError


def _rows(store, refresh):
    """One row per series, from the archive and the cache."""
    cached = store.cached()
    try:
        offered = store.offered(refresh)
    except LabError as error:
        if not cached:
            raise
        progress.note("%s\nonly cached kernels are listed" % error)
        offered = {}
    rows = []
    for series in sorted(set(offered) | set(cached), key=kernel_store.version_key):
        offer, folder = offered.get(series), cached.get(series)
        rows.append({
            "series": series, "release": offer.release if offer else folder.name,
            "download_mb": round(offer.size / 1e6) if offer else None,
            "cached": folder.name if folder else None,
            "cached_mib": round(tree_mib(folder)) if folder else None})
    return rows


def _print(rows, cache):
    print("%-8s %-26s %12s   %s" % ("series", "newest release", "download", "cached"))
    for row in rows:
        download = "%d MB" % row["download_mb"] if row["download_mb"] else "-"
        cached = "-"
        if row["cached"]:
            cached = "%d MiB" % row["cached_mib"]
            if row["cached"] != row["release"]:
                cached += " (%s)" % row["cached"]
        print("%-8s %-26s %12s   %s" % (row["series"], row["release"], download, cached))
    if rows:
        print("%s is %s" % (kernel_store.NEWEST, rows[-1]["series"]))
    print("The cache %s takes %d MiB." % (cache.root, tree_mib(cache.root)))


def kernels(options):
    cache = Cache()
    store = kernel_store.Store(cache, Apt(cache))
    for spec in options.get:
        store.get(spec, options.refresh)
    rows = _rows(store, options.refresh and not options.get)
    if options.json:
        print(json.dumps({"cache": str(cache.root), "kernels": rows}, indent=2))
    else:
        _print(rows, cache)
    return 0
