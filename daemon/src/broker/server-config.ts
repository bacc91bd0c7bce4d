/** What the generated configuration of the own nats-server says. */
export interface ServerConfig {
  /** 0: any free one. */
  readonly port: number;
  readonly operator: string;
  readonly systemAccount: string;
  readonly systemClaims: string;
  /** Folder of the accounts' JWTs, absolute. */
  readonly accounts: string;
  /** Where the server writes which port it got, absolute. */
  readonly ports: string;
  readonly log: string;
}

/**
 * Loopback only; users are known by JWTs of our operator alone, so nobody gets in without a
 * credential. JSON strings are strings in the server's format too, which takes care of odd paths.
 *
 * The log goes to a file of the server's own: a pipe to the daemon would end the server (SIGPIPE)
 * or block it, once the daemon is gone.
 */
export function renderServerConfig(config: ServerConfig): string {
  const text = JSON.stringify;
  return `# Made by vlinderd at every start; changes are lost.
server_name: vlinder
host: 127.0.0.1
port: ${config.port === 0 ? -1 : config.port}
ports_file_dir: ${text(config.ports)}
log_file: ${text(config.log)}
logfile_size_limit: 10MB
max_payload: 1MB

operator: ${config.operator}
system_account: ${config.systemAccount}
resolver: { type: full, dir: ${text(config.accounts)}, allow_delete: false, interval: "2m" }
resolver_preload: { ${config.systemAccount}: ${config.systemClaims} }
`;
}
