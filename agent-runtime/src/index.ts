export { type Hash, type Json, type Metadata, type Progress, VlinderError } from "@vlinder/protocol";
export { Client, type ConnectOptions, type EventMessages, type RequestOptions } from "./client.ts";
export { type DaemonAddress, type DaemonLocation, findDaemon } from "./find-daemon.ts";
export { type BatchChange, type Content, type Expect, Kv, KvReader, type PageRequest } from "./kv.ts";
export { Value } from "./value.ts";
export { type SearchOptions, type VectorOptions, VectorReader, Vectors } from "./vectors.ts";
export { type Branch, connect, type Past, Vlinder } from "./vlinder.ts";
