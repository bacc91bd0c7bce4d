import { VlinderError } from "@vlinder/protocol";

/** Why an encrypted vault does not let this device in, each with the way out. */

export function noMember(uri: string): VlinderError {
  return new VlinderError("denied", `this device is no member of the encrypted vault in ${uri}: it can read nothing`, {
    remedy:
      `with the recovery key: vlinder init ${uri} --key -; without it: vlinder vault request here, and vlinder vault add on a ` +
      "machine that is a member. Where there is neither, what only the bucket holds is lost",
    details: { bucket: uri },
  });
}

export function nothingToJoin(uri: string): VlinderError {
  return new VlinderError("not_found", `there is no vault in ${uri}`, {
    remedy: "check the URI; for a new one: vlinder init URI (--encrypt: for its members alone), then vlinder sync push",
    details: { bucket: uri },
  });
}

export function takenOut(until: string): VlinderError {
  return new VlinderError("denied", `this device was taken out of the vault on ${until.slice(0, 10)}`, {
    remedy:
      "what is here stays here; to come back as a new device, remove sync/device-key in the home and join again, by the " +
      "recovery key or a member's vlinder vault add",
    details: { until },
  });
}

export function wrongRecovery(uri: string): VlinderError {
  return new VlinderError("denied", `that is not the recovery key of the vault in ${uri}`, {
    remedy: "give the newest one: vlinder vault rotate makes those before it void; a member can make a new one",
    details: { bucket: uri },
  });
}

export function needsKey(uri: string): VlinderError {
  return new VlinderError("denied", `the vault in ${uri} is encrypted: this device must be let in`, {
    remedy:
      `with the recovery key: vlinder init ${uri} --key -; without it: vlinder vault request, vlinder vault add on a member, ` +
      "then the vlinder init that it prints",
    details: { bucket: uri },
  });
}

export function isEncrypted(uri: string): VlinderError {
  return new VlinderError("conflict", `there is an encrypted vault in ${uri} already`, {
    remedy: `vlinder init ${uri} --key - joins it; for another vault, use another bucket or folder`,
    details: { bucket: uri },
  });
}

export function isPlain(uri: string): VlinderError {
  return new VlinderError("conflict", `the vault in ${uri} is a plain one, and stays so`, {
    remedy:
      "without --encrypt, --key and --vault it is joined as it is; to encrypt, remove sync/vault.json in the home and run " +
      "vlinder init --encrypt with an empty bucket or folder, then vlinder sync push",
    details: { bucket: uri },
  });
}

export function otherVault(uri: string, found: string): VlinderError {
  return new VlinderError("denied", `the bucket ${uri} holds another vault than the one that was named`, {
    remedy: "compare it with what vlinder vault add printed; if they differ, somebody may have put another vault there",
    details: { bucket: uri, found },
  });
}
