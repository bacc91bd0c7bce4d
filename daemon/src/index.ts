export { checkMoves, movedBranch } from "./storage/branch-moves.ts";
export {
  BranchConflict,
  type BranchMove,
  type Kind,
  KINDS,
  type Moves,
  type Note,
  type ObjectName,
  type ObjectStorage,
  type ReflogEntry,
  type StoredBranch,
  type StoredNote,
  type StoredObject,
  type StoredReply,
  type Transaction,
  type Usage,
} from "./storage/object-storage.ts";
