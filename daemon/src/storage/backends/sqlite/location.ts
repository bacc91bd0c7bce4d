import { SHELVES } from "./shelves.ts";

/*
 * Where an object lies: block, slot in the block, and shelf, in one number below 2^48, so that it is an exact number
 * of JavaScript and six bytes in the index. Locations never change: a block that lost objects keeps its slots.
 */
export const SLOTS = 256;
const SHELF_ROOM = 8;
const BLOCK_ROOM = SLOTS * SHELF_ROOM;

if (SHELVES.length > SHELF_ROOM) throw new Error("more shelves than a location has room for");

export function locationOf(block: number, slot: number, shelf: number): number {
  return block * BLOCK_ROOM + slot * SHELF_ROOM + shelf;
}

export function blockOf(location: number): number {
  return Math.floor(location / BLOCK_ROOM);
}

export function slotOf(location: number): number {
  return (location & (BLOCK_ROOM - 1)) >>> 3;
}

export function shelfOf(location: number): number {
  return location & (SHELF_ROOM - 1);
}
