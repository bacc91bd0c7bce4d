import { type AgentName, VlinderError } from "@vlinder/protocol";

export function notRegistered(name: AgentName, removed: boolean): VlinderError {
  return new VlinderError("not_registered", `agent "${name}" ${removed ? "was removed" : "is not registered"}`, {
    remedy: `\`vlinder agent add DIR\` with the folder of its agent.toml ${removed ? "takes it up again" : "registers it"}`,
    details: { agent: name },
  });
}

export function reopening(name: AgentName): VlinderError {
  return new VlinderError("unavailable", `agent "${name}" is being opened again`, {
    remedy: "ask again in a moment",
    details: { agent: name },
  });
}
