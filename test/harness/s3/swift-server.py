"""OpenStack Swift with its S3 API, whole and unchanged, in one process for tests.

Proxy, account, container and object server are Swift's own, each on a port of its own on 127.0.0.1; objects are kept
in memory (Swift's mem_server), account and container databases in FOLDER. Signatures are checked by s3api and
tempauth. Only the place of memcached is taken by a dictionary.

Usage: swift-server.py FOLDER ACCESS_KEY SECRET_KEY; prints "PORT <n>" once it serves, and ends with its standard input.
"""

import os
import sys

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi
from paste.deploy import loadapp
from swift.common import utils
from swift.common.ring import RingBuilder
from swift.common.storage_policy import POLICIES, reload_storage_policies

import swift.account.server
import swift.container.server
import swift.obj.mem_server


class Cache:
    """What Swift asks of memcached."""

    def __init__(self):
        self.values = {}

    def get(self, key, raise_on_error=False):
        return self.values.get(key)

    def set(self, key, value, **_):
        self.values[key] = value

    def incr(self, key, delta=1, **_):
        self.values[key] = int(self.values.get(key) or 0) + delta
        return self.values[key]

    def decr(self, key, delta=1, **_):
        return self.incr(key, -delta)

    def delete(self, key, **_):
        self.values.pop(key, None)


PROXY = """
[pipeline:main]
pipeline = catch_errors listing_formats s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
swift_dir = {folder}
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
[filter:slo]
use = egg:swift#slo
"""


def main():
    folder, access_key, secret = sys.argv[1:4]
    account, user = access_key.split(":")
    with open(os.path.join(folder, "swift.conf"), "w") as file:
        file.write("[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n")
    utils.SWIFT_CONF_FILE = os.path.join(folder, "swift.conf")
    utils.HASH_PATH_SUFFIX = utils.HASH_PATH_PREFIX = b"test"
    reload_storage_policies()

    devices = os.path.join(folder, "devices")
    os.makedirs(os.path.join(devices, "d", "tmp"))
    conf = {"devices": devices, "mount_check": "false", "swift_dir": folder, "bind_ip": "127.0.0.1",
            "fallocate_reserve": "0"}
    sockets = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in ("account", "container", "object", "proxy")}
    for kind in ("account", "container", "object"):
        port = sockets[kind].getsockname()[1]
        builder = RingBuilder(1, 1, 0)
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d", "weight": 1})
        builder.rebalance()
        builder.get_ring().save(os.path.join(folder, kind + ".ring.gz"))
    conf_file = os.path.join(folder, "proxy-server.conf")
    with open(conf_file, "w") as file:
        file.write(PROXY.format(folder=folder, account=account, user=user, secret=secret))

    proxy = loadapp("config:" + conf_file)
    cache = Cache()

    def cached(environ, start_response):
        environ["swift.cache"] = cache
        return proxy(environ, start_response)

    logger = utils.get_logger({"log_level": "CRITICAL"})
    apps = {
        "account": swift.account.server.AccountController(conf, logger),
        "container": swift.container.server.ContainerController(conf, logger),
        "object": swift.obj.mem_server.ObjectController(conf, logger),
        "proxy": cached,
    }
    from swift.common.wsgi import SwiftHttpProtocol
    for kind, app in apps.items():
        eventlet.spawn(wsgi.server, sockets[kind], app, protocol=SwiftHttpProtocol, log=logger, log_output=False,
                       max_size=1024)
    print("PORT", sockets["proxy"].getsockname()[1], flush=True)
    eventlet.tpool.execute(sys.stdin.read)


main()
