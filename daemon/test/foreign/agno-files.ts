import Database from "better-sqlite3";

/*
 * Files as Agno writes them, and so AgentVault, which gives each of its agents one (`VaultAgent`, Agno's `SqliteDb` underneath:
 * https://dev.to/harishkotra/agentvault-distributed-persistence-for-local-ai-agents-203h). The tables and columns are those of
 * github.com/agno-agi/agno, with the types that SQLAlchemy's SQLite dialect gives them: String VARCHAR, BigInteger BIGINT, JSON JSON,
 * Boolean BOOLEAN, Date DATE, DateTime DATETIME. SQLAlchemy writes JSON with Python's json.dumps: a space behind `,` and `:`.
 */

/** Of 2.x: libs/agno/agno/db/sqlite/schemas.py, commit 00f3efbc110541df26c0a995f7ed14fddacb0ef5. */
const SECOND = `
CREATE TABLE agno_sessions (
	session_id VARCHAR NOT NULL,
	session_type VARCHAR NOT NULL,
	agent_id VARCHAR,
	team_id VARCHAR,
	workflow_id VARCHAR,
	user_id VARCHAR,
	session_data JSON,
	agent_data JSON,
	team_data JSON,
	workflow_data JSON,
	metadata JSON,
	runs JSON,
	summary JSON,
	created_at BIGINT NOT NULL,
	updated_at BIGINT,
	PRIMARY KEY (session_id)
);
CREATE INDEX idx_agno_sessions_session_type ON agno_sessions (session_type);
CREATE INDEX idx_agno_sessions_created_at ON agno_sessions (created_at);
CREATE TABLE agno_memories (
	memory_id VARCHAR NOT NULL,
	memory JSON NOT NULL,
	input VARCHAR,
	agent_id VARCHAR,
	team_id VARCHAR,
	user_id VARCHAR,
	topics JSON,
	feedback VARCHAR,
	created_at BIGINT NOT NULL,
	updated_at BIGINT,
	PRIMARY KEY (memory_id)
);
CREATE INDEX idx_agno_memories_user_id ON agno_memories (user_id);
CREATE TABLE agno_metrics (
	id VARCHAR NOT NULL,
	agent_runs_count BIGINT NOT NULL,
	team_runs_count BIGINT NOT NULL,
	workflow_runs_count BIGINT NOT NULL,
	agent_sessions_count BIGINT NOT NULL,
	team_sessions_count BIGINT NOT NULL,
	workflow_sessions_count BIGINT NOT NULL,
	users_count BIGINT NOT NULL,
	token_metrics JSON NOT NULL,
	model_metrics JSON NOT NULL,
	date DATE NOT NULL,
	aggregation_period VARCHAR NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT,
	completed BOOLEAN NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT agno_metrics_uq_metrics_date_period UNIQUE (date, aggregation_period)
);
CREATE TABLE agno_eval_runs (
	run_id VARCHAR NOT NULL,
	eval_type VARCHAR NOT NULL,
	eval_data JSON NOT NULL,
	eval_input JSON NOT NULL,
	name VARCHAR,
	agent_id VARCHAR,
	team_id VARCHAR,
	workflow_id VARCHAR,
	model_id VARCHAR,
	model_provider VARCHAR,
	evaluated_component_name VARCHAR,
	created_at BIGINT NOT NULL,
	updated_at BIGINT,
	PRIMARY KEY (run_id)
);
CREATE TABLE agno_knowledge (
	id VARCHAR NOT NULL,
	name VARCHAR NOT NULL,
	description VARCHAR NOT NULL,
	metadata JSON,
	type VARCHAR,
	size BIGINT,
	linked_to VARCHAR,
	access_count BIGINT,
	status VARCHAR,
	status_message VARCHAR,
	created_at BIGINT,
	updated_at BIGINT,
	external_id VARCHAR,
	PRIMARY KEY (id)
);
CREATE TABLE agno_component_configs (
	component_id VARCHAR NOT NULL,
	version BIGINT NOT NULL,
	label VARCHAR,
	stage VARCHAR NOT NULL,
	config JSON NOT NULL,
	notes VARCHAR,
	created_at BIGINT NOT NULL,
	updated_at BIGINT,
	PRIMARY KEY (component_id, version)
);`;

/**
 * Of 1.x: libs/agno/agno/storage/sqlite.py (mode "agent", table_name "agent_sessions"), commit 063bd7bcb6cbd2dee5b6cfe064c7535a4b6a42fb,
 * and libs/agno/agno/memory/v2/db/sqlite.py (table_name "memory"), commit 9d2eb11cb2fc84f5d88388fae1413d365b0fe2f7, which keeps the
 * memory as Python prints a dict.
 */
const FIRST = `
CREATE TABLE agent_sessions (
	session_id VARCHAR NOT NULL,
	user_id VARCHAR,
	memory JSON,
	session_data JSON,
	extra_data JSON,
	created_at INTEGER,
	updated_at INTEGER,
	agent_id VARCHAR,
	agent_data JSON,
	team_session_id VARCHAR,
	PRIMARY KEY (session_id)
);
CREATE INDEX ix_agent_sessions_user_id ON agent_sessions (user_id);
CREATE TABLE memory (
	id VARCHAR NOT NULL,
	user_id VARCHAR,
	memory VARCHAR,
	created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
	updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
	PRIMARY KEY (id)
);`;

function insert(db: Database.Database, table: string, row: Record<string, unknown>): void {
  const names = Object.keys(row);
  const marks = names.map(() => "?").join(", ");
  db.prepare(`INSERT INTO ${table} (${names.join(", ")}) VALUES (${marks})`).run(...Object.values(row));
}

/** A conversation, a memory and what belongs to it, as Agno 2.x leaves them. Who calls closes it. */
export function secondGeneration(path: string): Database.Database {
  const db = new Database(path);
  db.exec(SECOND);
  const session = {
    session_type: "agent",
    agent_id: "researcher",
    user_id: "ann@example.com",
    team_data: "null", // SQLAlchemy's JSON has None as JSON's null
    created_at: 1_756_200_000,
  };
  const runs =
    '[{"run_id": "r-1", "agent_id": "researcher", "messages": [{"role": "user", "content": "caf\\u00e9?"}]}]';
  // Before agno-agi/agno#9797 (August 2026) these columns were encoded twice, and are JSON strings of JSON.
  insert(db, "agno_sessions", {
    session_id: "6f1c8e9a-0001",
    ...session,
    session_data: JSON.stringify('{"session_state": {}}'),
    runs: JSON.stringify(runs),
  });
  insert(db, "agno_sessions", {
    session_id: "6f1c8e9a-0002",
    ...session,
    session_data: '{"session_state": {}}',
    runs,
  });
  insert(db, "agno_memories", {
    memory_id: "m-1",
    memory: '"Ann likes tea"',
    input: "I like tea",
    user_id: "ann@example.com",
    topics: '["food", "drink"]',
    created_at: 1_756_200_001,
  });
  const counts = ["agent_runs", "team_runs", "workflow_runs", "agent_sessions", "team_sessions", "workflow_sessions"];
  insert(db, "agno_metrics", {
    id: "d-1",
    ...Object.fromEntries(counts.map((name) => [`${name}_count`, 1])),
    users_count: 1,
    token_metrics: '{"input_tokens": 12, "cost": 0.5}',
    model_metrics: "[]",
    date: "2026-08-26",
    aggregation_period: "daily",
    created_at: 1_756_200_002,
    completed: 0,
  });
  for (const version of [1, 2]) {
    insert(db, "agno_component_configs", {
      component_id: "a/b",
      version,
      stage: "draft",
      config: "{}",
      created_at: 1_756_200_003,
    });
  }
  return db;
}

/** The same of Agno 1.x. */
export function firstGeneration(path: string): Database.Database {
  const db = new Database(path);
  db.exec(FIRST);
  insert(db, "agent_sessions", {
    session_id: "s-1",
    user_id: "ann",
    memory: '{"runs": [{"response": {"content": "hi", "created_at": 1740000000}}], "summaries": null}',
    session_data: '{"session_name": "tea"}',
    created_at: 1_740_000_000,
    agent_id: "researcher",
    agent_data: '{"name": "Researcher", "model": {"id": "gpt-4o"}}',
  });
  insert(db, "memory", { id: "m-1", user_id: "ann", memory: "{'memory': 'Ann likes tea', 'topics': ['food']}" });
  return db;
}
