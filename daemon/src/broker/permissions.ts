/**
 * Who may publish and subscribe what, for the server to enforce. A role's permissions live in the
 * account as a scoped signing key, not in each user's credential: a release that changes them changes
 * all users at its start, and no file has to be made again.
 *
 * `{{name()}}` is the user's name, put in by the server, and only as a whole token. So a name is
 * validated before a user is minted: one called `*` would reach everybody.
 *
 * No role has `resp`, the permission to answer wherever a message asks for it: with it, an agent
 * could make the daemon publish on another agent's subjects.
 */
export interface Permissions {
  readonly publish: { readonly allow: readonly string[]; readonly deny: readonly string[] };
  readonly subscribe: { readonly allow: readonly string[] };
}

export type Role = "admin" | "agent" | "daemon";
export type Roles = Readonly<Record<Role, Permissions>>;

/** Inbox prefix of the daemon's own connection. */
export const DAEMON_INBOX = "_INBOX.vlinderd";

const AGENT = "vlinder.v1.{{name()}}";

export const ROLES: Roles = {
  admin: {
    // $SRV: discovery (`nats micro ls`), whose answers come to the inbox.
    publish: { allow: ["vlinder.>", "$SRV.>"], deny: [] },
    subscribe: { allow: ["vlinder.>", "_INBOX.admin.>"] },
  },
  agent: {
    // What the daemon says about an agent, the agent must not be able to say itself; what it did stays on record; a person's
    // word on what it may have done is a person's; and only a person may have it ask models that it does not declare.
    publish: {
      allow: [`${AGENT}.>`],
      deny: [
        `${AGENT}.events.>`,
        `${AGENT}.invoke`,
        `${AGENT}.timeline.gc`,
        `${AGENT}.timeline.forget`,
        `${AGENT}.effect.resolve`,
        `${AGENT}.run.override`,
        `${AGENT}.turn.replay`,
      ],
    },
    subscribe: { allow: [`${AGENT}.invoke`, `${AGENT}.events.>`, "_INBOX.{{name()}}.>"] },
  },
  daemon: {
    publish: { allow: ["_INBOX.>", "vlinder.v1.*.events.>", "vlinder.v1.*.invoke"], deny: [] },
    subscribe: { allow: ["vlinder.v1.>", "vlinder.admin.v1.>", "$SRV.>", `${DAEMON_INBOX}.>`] },
  },
};
