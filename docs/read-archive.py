#!/usr/bin/env python3
"""Reads what `vlinder export` wrote, with Python and the program zstd alone.

    python3 read-archive.py agent.tar                   branches, and the keys of main with their values' hashes
    python3 read-archive.py agent.tar side /a > value   the value of a key of another branch
"""
import hashlib, json, subprocess, sys, tarfile

objects = {}  # (kind, hash) -> bytes
VALUE, CHUNK, LIST, NODE, CHANGES, SNAPSHOT, COMMIT = range(1, 8)

def uvarint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at

def read_pack(pack):
    assert pack[:7] == b"VLPACK\x01" and pack[8] == 0, "a pack of another version, or encrypted"
    data = subprocess.run(["zstd", "-dc"], input=pack[16:], stdout=subprocess.PIPE, check=True).stdout if pack[7] else pack[16:]
    at = 0
    while at < len(data):
        kind, at = data[at], at + 1
        name, at = (data[at:at + 32].hex(), at + 32) if kind == LIST else (None, at)
        length, at = uvarint(data, at)
        body, at = data[at:at + length], at + length
        objects[kind, name or hashlib.sha256(body).hexdigest()] = body

def value(name, size):  # over 64 KiB: a list of parts, each 32 bytes of hash and 8 of size behind 16 of header
    if size <= 65536:
        return objects[VALUE, name]
    def join(body):
        parts = [body[at:at + 32].hex() for at in range(16, len(body), 40)]
        return b"".join(objects[CHUNK, part] if body[1] == 1 else join(objects[LIST, part]) for part in parts)
    whole = join(objects[LIST, name])
    assert hashlib.sha256(whole).hexdigest() == name
    return whole

def keys(commit):  # all changes along first parents, oldest first; a rewind takes the keys of an earlier commit
    chain, keys = [], {}
    while commit:
        body = json.loads(objects[COMMIT, commit])
        chain.append(body.get("changes", {}))
        commit = body.get("adopts") or (body["parents"] or [None])[0]
    for changes in reversed(chain):
        changes = json.loads(objects[CHANGES, changes]) if isinstance(changes, str) else changes
        keys.update({key: (name, size) for key, name, size in changes.get("kv", [])})
    return {key: found for key, found in keys.items() if found[0]}

with tarfile.open(sys.argv[1]) as tar:
    files = {entry.name: tar.extractfile(entry).read() for entry in tar}
for line in files["SHA256SUMS"].decode().splitlines():
    assert hashlib.sha256(files[line[66:]]).hexdigest() == line[:64], line[66:]
for name in files:
    if name.startswith("packs/"):
        read_pack(files[name])
heads = {branch["name"]: branch["head"] for branch in json.loads(files["manifest.json"])["branches"] if branch["head"]}
wanted = sys.argv[2] if len(sys.argv) > 2 else "main"
if len(sys.argv) > 3:
    sys.stdout.buffer.write(value(*keys(heads[wanted])[sys.argv[3]]))
else:
    for name in heads:
        print("branch", heads[name], name)
    for key, (name, size) in sorted(keys(heads[wanted]).items()):
        print("key", name, size, json.dumps(key))
