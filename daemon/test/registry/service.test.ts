import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { installService, type ServiceHost, uninstallService } from "../../src/registry/service.ts";
import { launchdPlist, type ServiceSpec, systemdUnit } from "../../src/registry/service-unit.ts";
import { errorOf, temporaryFolder } from "./folders.ts";

const execute = promisify(execFile);
const hasAnalyze = ["/usr/bin/systemd-analyze", "/bin/systemd-analyze"].some((path) => existsSync(path));

const SPEC: ServiceSpec = {
  node: "/usr/bin/node",
  vlinderd: "/opt/vlinder/bin/vlinderd.mjs",
  home: "/home/ann/.vlinder",
  system: false,
  user: "ann",
  externalNats: false,
};

function host(root: string, options: Partial<ServiceHost> & { fail?: boolean } = {}) {
  const commands: string[] = [];
  const run = async (file: string, args: readonly string[]) => {
    commands.push([file, ...args].join(" "));
    if (options.fail) throw new Error("Command failed\nFailed to connect to bus");
  };
  return { commands, host: { platform: "linux" as const, env: {}, userHome: root, uid: 501, run, ...options } };
}

describe("the systemd unit", () => {
  test("is what a service of this daemon needs", () => {
    const unit = systemdUnit(SPEC);
    for (const line of [
      "Type=notify",
      "NotifyAccess=all",
      'ExecStart="/usr/bin/node" --max-semi-space-size=16 "/opt/vlinder/bin/vlinderd.mjs"',
      'Environment="VLINDER_HOME=/home/ann/.vlinder"',
      'Environment="MALLOC_ARENA_MAX=1"',
      "Restart=on-failure",
      // The daemon ends its agents itself; and the kernel's end of one is not the end of all.
      "KillMode=mixed",
      "OOMPolicy=continue",
      "WantedBy=default.target",
    ]) {
      expect(unit.split("\n")).toContain(line);
    }
    expect(unit).not.toMatch(/^User=/m);
    for (const system of [false, true]) {
      const text = systemdUnit({ ...SPEC, system, externalNats: true });
      expect(text).not.toContain("MemoryDenyWriteExecute");
      expect(text).not.toContain("Requires=");
      expect(text).toMatch(/^Wants=.*nats-server\.service$/m);
    }
    expect(systemdUnit({ ...SPEC, system: true })).toMatch(/^User=ann$/m);
  });

  test("quotes spaces, %, $, quotes and backslashes; refuses line ends", async () => {
    const unit = systemdUnit({ ...SPEC, vlinderd: '/a b/100%/$x/"q"\\.mjs', home: "/h/$me 50%" });
    expect(unit).toContain('"/a b/100%%/$$x/\\"q\\"\\\\.mjs"');
    expect(unit).toContain('Environment="VLINDER_HOME=/h/$me 50%%"');
    expect((await errorOf(() => systemdUnit({ ...SPEC, home: "/h\nUser=root" }))).code).toBe("invalid");
    expect((await errorOf(() => systemdUnit({ ...SPEC, system: true, user: "a b" }))).code).toBe("invalid");
  });

  test.runIf(hasAnalyze)("passes systemd-analyze verify, with odd paths, and a broken one does not", async () => {
    const root = join(await temporaryFolder(), "a b 100% $x");
    await mkdir(root);
    const node = join(root, "node");
    await writeFile(node, "#!/bin/sh\n");
    await chmod(node, 0o755);
    const verify = async (name: string, text: string, ...flags: string[]) => {
      const path = join(await temporaryFolder(), name);
      await writeFile(path, text);
      const { stdout, stderr } = await execute("systemd-analyze", [...flags, "verify", path], {
        timeout: 20_000,
        env: { ...process.env, XDG_RUNTIME_DIR: root },
      });
      // It also speaks of what else the machine has; what is of this unit names its file.
      return `${stdout}${stderr}`.split("\n").filter((line) => line.includes(name));
    };
    for (const system of [false, true]) {
      const text = systemdUnit({
        ...SPEC,
        node,
        system,
        vlinderd: join(root, "vlinderd.mjs"),
        home: root,
        user: "root",
      });
      expect(await verify("vlinderd.service", text, system ? "--system" : "--user"), text).toEqual([]);
      const broken = text.replace("Type=notify", "Type=notfy");
      expect(await verify("vlinderd.service", broken, system ? "--system" : "--user")).not.toEqual([]);
    }
  });
});

describe("install", () => {
  test("writes the user's unit, reloads, and says what to run next", async () => {
    const root = await temporaryFolder();
    const { host: machine, commands } = host(root);
    const path = join(root, ".config/systemd/user/vlinderd.service");
    expect(await installService(SPEC, machine)).toEqual({
      path,
      next: ["systemctl --user enable --now vlinderd", "loginctl enable-linger", "journalctl --user -u vlinderd -f"],
      notes: [],
    });
    expect(await readFile(path, "utf8")).toBe(systemdUnit(SPEC));
    expect(commands).toEqual(["systemctl --user daemon-reload"]);
    expect((await uninstallService(false, machine)).path).toBe(path);
    expect(commands.slice(1)).toEqual(["systemctl --user disable --now vlinderd", "systemctl --user daemon-reload"]);
    expect(existsSync(path)).toBe(false);
    expect((await errorOf(() => uninstallService(false, machine))).code).toBe("not_found");
  });

  test("where systemctl fails, the file is there and that is said", async () => {
    const root = await temporaryFolder();
    const { host: machine } = host(root, { fail: true, env: { XDG_CONFIG_HOME: join(root, "xdg") } });
    const reply = await installService(SPEC, machine);
    expect(reply.path).toBe(join(root, "xdg/systemd/user/vlinderd.service"));
    expect(reply.notes).toEqual(["`systemctl --user daemon-reload` failed: Failed to connect to bus"]);
    expect(existsSync(reply.path)).toBe(true);
  });

  test("on macOS writes a property list", async () => {
    const root = await temporaryFolder();
    const { host: machine, commands } = host(root, { platform: "darwin" });
    const reply = await installService({ ...SPEC, home: "/Users/ann/a & b" }, machine);
    expect(reply.path).toBe(join(root, "Library/LaunchAgents/dev.vlinder.vlinderd.plist"));
    expect(reply.next).toEqual([`launchctl bootstrap gui/501 ${reply.path}`]);
    expect(await readFile(reply.path, "utf8")).toContain("<string>/Users/ann/a &amp; b</string>");
    await uninstallService(false, machine);
    expect(commands).toEqual(["launchctl bootout gui/501/dev.vlinder.vlinderd"]);
  });

  test("is refused elsewhere, and with relative paths", async () => {
    const root = await temporaryFolder();
    const elsewhere = host(root, { platform: "win32" }).host;
    expect((await errorOf(() => installService(SPEC, elsewhere))).code).toBe("unavailable");
    expect((await errorOf(() => installService({ ...SPEC, home: "x" }, host(root).host))).code).toBe("invalid");
  });
});

test("the property list is XML with every program argument", () => {
  expect(launchdPlist({ ...SPEC, system: true })).toContain("<key>UserName</key><string>ann</string>");
  expect(launchdPlist(SPEC)).toContain(
    "<array><string>/usr/bin/node</string><string>--max-semi-space-size=16</string><string>/opt/vlinder/bin/vlinderd.mjs</string></array>",
  );
});
