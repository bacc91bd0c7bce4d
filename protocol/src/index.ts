export { canonicalJson, type Json, parseCanonicalJson } from "./canonical.ts";
export { checkRequest, decodeBody, encodeBody, type Encoding, encodingOf } from "./codec.ts";
export {
  asVlinderError,
  ERROR_CODES,
  type ErrorBody,
  type ErrorCode,
  type ErrorOptions,
  invalid,
  VlinderError,
} from "./errors.ts";
export {
  type ChunkList,
  type ChunkListPart,
  CHUNKED_OVER,
  decodeChunkList,
  encodeChunkList,
  LIST_ENTRIES,
} from "./format/chunk-list.ts";
export {
  type BranchId,
  type Change,
  changeCount,
  type Changes,
  type Commit,
  type CommitEvent,
  decodeCommit,
  encodeChanges,
  encodeCommit,
  EVENT_KINDS,
  type EventKind,
  hashCommit,
  INLINE_CHANGES,
  parseChanges,
} from "./format/commit.ts";
export { keyInCommit, linkPast } from "./format/commit-link.ts";
export {
  type Contract,
  decodeContract,
  encodeContract,
  MERGE_POLICIES,
  MERGE_RULES,
  type MergePolicy,
  type Metric,
  METRICS,
  unknownMergeRules,
} from "./format/contract.ts";
export {
  checkProof,
  commitOfProof,
  makeProof,
  type Proof,
  type ProofQuestion,
  type ProofSpace,
  type Proven,
} from "./format/proof.ts";
export { decodeSnapshot, EMPTY_SNAPSHOT, encodeSnapshot, hashSnapshot, type Snapshot } from "./format/snapshot.ts";
export { decodeTreeNode, encodeTreeNode, TREE_VERSION, type TreeNode, type TreeVersion } from "./format/tree-node.ts";
export { ByteReader, uvarintLength, writeUvarint } from "./format/varint.ts";
export { isNewerFormat, refuseNewerFormat } from "./format/version.ts";
export { decodeVectorRecord, encodeVectorRecord, type Metadata, type VectorRecord } from "./format/vector-record.ts";
export {
  asBuffer,
  type Hash,
  hashFromBytes,
  hashToBytes,
  isHash,
  ownBuffer,
  parseHash,
  sha256,
  sha256Of,
} from "./hash.ts";
export { LIMITS } from "./limits.ts";
export { MsgpackWriter } from "./msgpack-writer.ts";
export { parseJson } from "./parse-json.ts";
export { parseRefTime } from "./ref-time.ts";
export {
  type AgentName,
  type BranchName,
  type DeviceId,
  type Key,
  keyBytes,
  keyFromBytes,
  keyText,
  MAIN,
  parseAgentName,
  parseBranchName,
  parseDeviceId,
  parseKey,
  parseKeyPrefix,
} from "./names.ts";
export {
  type AdminReplies,
  adminRequests,
  type AdminRequest,
  type AgentReplies,
  agentRequests,
  type AgentRequest,
  checkAgentRequest,
} from "./schemas/index.ts";
export type {
  AgentDetails,
  AgentItem,
  AgentVaultImportReply,
  CommitEventMessage,
  DaemonFile,
  LogItem,
  LogsReply,
  PlanReply,
  ProcessItem,
  Progress,
  ProviderItem,
  ProviderTestReply,
  ImportFinding,
  VlinderCliImportReply,
  RegisterReply,
  StatusReply,
} from "./schemas/admin.ts";
export type { BlameItem, BlameReply, ChangesItem, ChangesReply, KeyChange, Origin } from "./schemas/changes.ts";
export type { DrillAgent, DrillBranch, DrillRecord, DrillReply, DrillVerified } from "./schemas/drill.ts";
export type {
  EffectBeginReply,
  EffectEndReply,
  EffectForm,
  EffectItem,
  EffectResolveReply,
  EffectStatus,
} from "./schemas/effect.ts";
export type {
  BatchReply,
  DeleteReply,
  GetReply,
  HistoryItem,
  HistoryReply,
  ListItem,
  ListReply,
  PipelineReply,
  PipelineResult,
  PutReply,
  LockClass,
  SyncLock,
  SyncOwed,
} from "./schemas/kv.ts";
export type {
  CopiesReply,
  DatabasesMode,
  FetchedCopiesReply,
  FetchedCopy,
  InitReply,
  ProbeStep,
  PullReply,
  PushReply,
  RetireReply,
  SyncAgentItem,
  SyncBranchItem,
  SyncEventMessage,
  SyncJoining,
  SyncMetrics,
  SyncStatusReply,
  SyncWhen,
} from "./schemas/sync.ts";
export type { ForgetReply, GcReply, QuarantineItem, SpaceItem } from "./schemas/retention.ts";
export type { CallHead, CallPart, CallReply, Tokens } from "./schemas/service.ts";
export type {
  BranchItem,
  ChangeItem,
  CommitItem,
  ConflictItem,
  Damage,
  DiffItem,
  DiffReply,
  LogReply,
  ProveReply,
  ReflogItem,
  ShowReply,
  VerifyReply,
} from "./schemas/timeline.ts";
export type {
  AcceptReply,
  BeginReply,
  CompleteReply,
  FailReply,
  InvokeMessage,
  ReplayCost,
  ReplayDivergence,
  ReplayReply,
  ReplaySide,
  RunReply,
  SessionItem,
  SessionTurn,
  TurnEventMessage,
  TurnKind,
  TurnValue,
} from "./schemas/turn.ts";
export type { DropReply, ValueGetReply, ValuePutReply } from "./schemas/value.ts";
export type { SearchItem, SearchReply, VectorFilter, VectorReply } from "./schemas/vector.ts";
export {
  ADMIN_OPERATIONS,
  type AdminOperation,
  adminSubject,
  AGENT_OPERATIONS,
  type AgentOperation,
  agentOfSubject,
  agentSubject,
  agentSubjectPattern,
  ERROR_CODE_HEADER,
  ERROR_HEADER,
  type EventName,
  eventSubject,
  inboxPrefix,
  invokeSubject,
  isAllowedReply,
  PART_HEADER,
  PROGRESS_HEADER,
} from "./subjects.ts";
export type {
  VaultAddReply,
  VaultDevicesReply,
  VaultDistrustReply,
  VaultRequestReply,
  VaultRotateReply,
} from "./schemas/vault.ts";
