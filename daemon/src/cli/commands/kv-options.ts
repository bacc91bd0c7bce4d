export const BRANCH = ["--branch <name>", "the branch, default main"] as const;
export const AT = ["--at <ref>", "as it was at this commit, branch or time: 9f31c02, fix, yesterday"] as const;
export const EXPECT = [
  "--expect <hash>",
  "only if the key has this value now; `none`: only if it does not exist",
] as const;
