/**
 * The errors of vlinder: few, stable codes that mean the same on the wire, in the SDK and in
 * `--json` output. An error says what happened (`message`), what to do (`remedy`), and carries
 * what a program needs to decide (`details`, `retryable`).
 */
export const ERROR_CODES = [
  "invalid",
  "not_found",
  "not_registered",
  "not_declared",
  "conflict",
  "sealed",
  "too_large",
  "quota_exceeded",
  "erased",
  "pruned",
  "denied",
  "unavailable",
  "timeout",
  "internal",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** Codes where the same request may succeed later with nothing changed by the caller. */
const RETRYABLE: ReadonlySet<ErrorCode> = new Set(["unavailable", "timeout"]);

export interface ErrorOptions {
  /** What the reader can do about it, as a sentence. */
  readonly remedy?: string;
  /** Facts for programs: ids, limits, positions. Plain JSON. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
  /** Overrides the code's default. */
  readonly retryable?: boolean;
}

/** The body of an error reply: `{"error": …}`. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;
}

export class VlinderError extends Error {
  override readonly name = "VlinderError";
  readonly code: ErrorCode;
  readonly remedy: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
    this.details = options.details ?? {};
    this.retryable = options.retryable ?? RETRYABLE.has(code);
  }

  /** The wire form. The remedy travels in `details.remedy`. */
  toBody(): ErrorBody {
    const details = this.remedy === undefined ? this.details : { ...this.details, remedy: this.remedy };
    return { code: this.code, message: this.message, retryable: this.retryable, details };
  }

  static fromBody(body: ErrorBody): VlinderError {
    const { remedy, ...details } = body.details as Record<string, unknown>;
    return new VlinderError(body.code, body.message, {
      details,
      retryable: body.retryable,
      ...(typeof remedy === "string" ? { remedy } : {}),
    });
  }
}

/** Any thrown thing as a VlinderError; what is not ours becomes `internal` and keeps its cause. */
export function asVlinderError(error: unknown): VlinderError {
  if (error instanceof VlinderError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new VlinderError("internal", message, { cause: error });
}

export function invalid(message: string, options: ErrorOptions = {}): VlinderError {
  return new VlinderError("invalid", message, options);
}
