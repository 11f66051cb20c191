CREATE TABLE account_levels (
	config_id BIGINT NOT NULL,
	entity_type VARCHAR(16) COLLATE "C" NOT NULL,
	data_revision BIGINT NOT NULL,
	first_date DATE,
	last_date DATE,
	CONSTRAINT pk_account_levels PRIMARY KEY (config_id, entity_type),
	CONSTRAINT ck_account_levels_entity_type CHECK (entity_type IN ('campaign', 'adset', 'ad'))
);

CREATE TABLE account_syncs (
	config_id BIGINT NOT NULL,
	source TEXT NOT NULL,
	started_at TIMESTAMP WITH TIME ZONE NOT NULL,
	finished_at TIMESTAMP WITH TIME ZONE,
	first_date DATE NOT NULL,
	last_date DATE NOT NULL,
	error TEXT,
	CONSTRAINT pk_account_syncs PRIMARY KEY (config_id)
);

CREATE TABLE accounts (
	config_id BIGINT NOT NULL,
	account_id VARCHAR(64) COLLATE "C",
	account_name TEXT,
	currency_code VARCHAR(3) COLLATE "C",
	time_zone TEXT,
	id_kind VARCHAR(8) COLLATE "C",
	click_kind VARCHAR(8) COLLATE "C",
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_accounts PRIMARY KEY (config_id),
	CONSTRAINT ck_accounts_config_id CHECK (config_id > 0),
	CONSTRAINT ck_accounts_id_kind CHECK (id_kind IN ('id', 'name')),
	CONSTRAINT ck_accounts_click_kind CHECK (click_kind IN ('all', 'link'))
);

CREATE TABLE entities (
	entity_key BIGSERIAL NOT NULL,
	config_id BIGINT NOT NULL,
	entity_type VARCHAR(16) COLLATE "C" NOT NULL,
	entity_id VARCHAR(64) COLLATE "C" NOT NULL,
	parent_id VARCHAR(64) COLLATE "C",
	name TEXT,
	status TEXT,
	objective TEXT,
	shares_budget BOOLEAN,
	campaign_id VARCHAR(64) COLLATE "C",
	facts_date DATE,
	data_revision BIGINT DEFAULT '0' NOT NULL,
	CONSTRAINT pk_entities PRIMARY KEY (entity_key),
	CONSTRAINT uq_entities_config_id_entity_type_entity_id UNIQUE (config_id, entity_type, entity_id),
	CONSTRAINT ck_entities_config_id CHECK (config_id > 0),
	CONSTRAINT ck_entities_entity_type CHECK (entity_type IN ('campaign', 'adset', 'ad')),
	CONSTRAINT ck_entities_entity_id CHECK (length(entity_id) > 0)
);

CREATE INDEX ix_entities_config_id_entity_type_parent_id ON entities (config_id, entity_type, parent_id) WHERE parent_id IS NOT NULL;

CREATE TABLE incident_scans (
	config_id BIGINT NOT NULL,
	scan_date DATE NOT NULL,
	scanned_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_incident_scans PRIMARY KEY (config_id)
);

CREATE TABLE incidents (
	incident_key BIGSERIAL NOT NULL,
	config_id BIGINT NOT NULL,
	incident_id VARCHAR(64) COLLATE "C" NOT NULL,
	state VARCHAR(16) COLLATE "C" NOT NULL,
	first_date DATE NOT NULL,
	last_date DATE NOT NULL,
	stake DOUBLE PRECISION NOT NULL,
	payload JSONB NOT NULL,
	judgement VARCHAR(32) COLLATE "C",
	person TEXT,
	judged_at TIMESTAMP WITH TIME ZONE,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
	alert_labels JSONB,
	alerted_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_incidents PRIMARY KEY (incident_key),
	CONSTRAINT uq_incidents_config_id_incident_id UNIQUE (config_id, incident_id),
	CONSTRAINT ck_incidents_config_id CHECK (config_id > 0)
);

CREATE INDEX ix_incidents_config_id_state ON incidents (config_id, state);

CREATE TABLE ml_leases (
	job VARCHAR(64) COLLATE "C" NOT NULL,
	shard_index INTEGER NOT NULL,
	run_id VARCHAR(64) COLLATE "C" NOT NULL,
	holder TEXT NOT NULL,
	token BIGINT NOT NULL,
	acquired_at TIMESTAMP WITH TIME ZONE NOT NULL,
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_ml_leases PRIMARY KEY (job, shard_index)
);

CREATE TABLE ml_trained_models (
	model_key BIGSERIAL NOT NULL,
	name VARCHAR(255) COLLATE "C" NOT NULL,
	version INTEGER NOT NULL,
	model_type VARCHAR(64) COLLATE "C" NOT NULL,
	config_id BIGINT NOT NULL,
	entity_type VARCHAR(16) COLLATE "C",
	entity_id VARCHAR(64) COLLATE "C",
	artifact_uri VARCHAR(1024) COLLATE "C" NOT NULL,
	sha256 VARCHAR(64) COLLATE "C" NOT NULL,
	size_bytes BIGINT NOT NULL,
	format_version INTEGER NOT NULL,
	parameters JSONB NOT NULL,
	feature_columns JSONB NOT NULL,
	training_metrics JSONB NOT NULL,
	samples_count BIGINT NOT NULL,
	window_start DATE,
	window_end DATE,
	code_version TEXT NOT NULL,
	library_versions JSONB NOT NULL,
	run_id VARCHAR(64) COLLATE "C",
	status VARCHAR(16) COLLATE "C" NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_ml_trained_models PRIMARY KEY (model_key),
	CONSTRAINT uq_ml_trained_models_name_version UNIQUE (name, version),
	CONSTRAINT uq_ml_trained_models_artifact_uri UNIQUE (artifact_uri),
	CONSTRAINT ck_ml_trained_models_version CHECK (version > 0),
	CONSTRAINT ck_ml_trained_models_status CHECK (status IN ('READY', 'ACTIVE', 'ARCHIVED', 'FAILED'))
);

CREATE INDEX ix_ml_trained_models_config_id_model_type ON ml_trained_models (config_id, model_type);

CREATE UNIQUE INDEX uq_ml_trained_models_active ON ml_trained_models (name) WHERE status = 'ACTIVE';

CREATE UNIQUE INDEX uq_ml_trained_models_run ON ml_trained_models (run_id, name) WHERE run_id IS NOT NULL;

CREATE TABLE ml_training_runs (
	run_id VARCHAR(64) COLLATE "C" NOT NULL,
	job VARCHAR(64) COLLATE "C" NOT NULL,
	request_id VARCHAR(128) COLLATE "C" NOT NULL,
	parameters JSONB NOT NULL,
	shard_count INTEGER NOT NULL,
	launch_kind VARCHAR(16) COLLATE "C" DEFAULT 'COMMAND_LINE' NOT NULL,
	actor TEXT NOT NULL,
	launcher VARCHAR(32) COLLATE "C" NOT NULL,
	launcher_ref TEXT DEFAULT '' NOT NULL,
	job_uid VARCHAR(64) COLLATE "C" DEFAULT '' NOT NULL,
	status VARCHAR(16) COLLATE "C" NOT NULL,
	detail TEXT DEFAULT '' NOT NULL,
	cancel_requested BOOLEAN DEFAULT false NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	started_at TIMESTAMP WITH TIME ZONE,
	finished_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_ml_training_runs PRIMARY KEY (run_id),
	CONSTRAINT uq_ml_training_runs_job_request_id UNIQUE (job, request_id),
	CONSTRAINT ck_ml_training_runs_shard_count CHECK (shard_count > 0),
	CONSTRAINT ck_ml_training_runs_status CHECK (status IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELLING', 'CANCELLED')),
	CONSTRAINT ck_ml_training_runs_launch_kind CHECK (launch_kind IN ('CALLER', 'SCHEDULE', 'COMMAND_LINE'))
);

CREATE INDEX ix_ml_training_runs_created_at ON ml_training_runs (created_at);

CREATE INDEX ix_ml_training_runs_status ON ml_training_runs (status);

CREATE TABLE schema_notes (
	name VARCHAR(64) COLLATE "C" NOT NULL,
	value VARCHAR(64) COLLATE "C" NOT NULL,
	CONSTRAINT pk_schema_notes PRIMARY KEY (name)
);

CREATE TABLE change_events (
	entity_key BIGINT NOT NULL,
	date DATE NOT NULL,
	change_type VARCHAR(32) COLLATE "C" NOT NULL,
	detail JSONB NOT NULL,
	recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_change_events PRIMARY KEY (entity_key, date, change_type),
	CONSTRAINT ck_change_events_change_type CHECK (change_type IN ('budget_change', 'creative_change', 'audience_change', 'pause', 'reactivate')),
	CONSTRAINT fk_change_events_entity_key FOREIGN KEY(entity_key) REFERENCES entities (entity_key)
);

CREATE TABLE daily_metrics (
	entity_key BIGINT NOT NULL,
	date DATE NOT NULL,
	spend DOUBLE PRECISION NOT NULL,
	impressions DOUBLE PRECISION NOT NULL,
	clicks DOUBLE PRECISION NOT NULL,
	leads DOUBLE PRECISION NOT NULL,
	reach DOUBLE PRECISION,
	source TEXT NOT NULL,
	loaded_at TIMESTAMP WITH TIME ZONE NOT NULL,
	fetched_at DOUBLE PRECISION DEFAULT '0' NOT NULL,
	CONSTRAINT pk_daily_metrics PRIMARY KEY (entity_key, date),
	CONSTRAINT fk_daily_metrics_entity_key FOREIGN KEY(entity_key) REFERENCES entities (entity_key)
)
 PARTITION BY RANGE (date);

CREATE TABLE feedback (
	feedback_key BIGSERIAL NOT NULL,
	family VARCHAR(32) COLLATE "C" NOT NULL,
	entity_key BIGINT NOT NULL,
	date DATE NOT NULL,
	person TEXT NOT NULL,
	label TEXT NOT NULL,
	note TEXT,
	recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_feedback PRIMARY KEY (feedback_key),
	CONSTRAINT fk_feedback_entity_key FOREIGN KEY(entity_key) REFERENCES entities (entity_key)
);

CREATE INDEX ix_feedback_entity_key_family_date ON feedback (entity_key, family, date);

CREATE TABLE ml_model_events (
	event_key BIGSERIAL NOT NULL,
	name VARCHAR(255) COLLATE "C" NOT NULL,
	version INTEGER NOT NULL,
	event VARCHAR(16) COLLATE "C" NOT NULL,
	previous_version INTEGER,
	actor TEXT NOT NULL,
	reason TEXT NOT NULL,
	created_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_ml_model_events PRIMARY KEY (event_key),
	CONSTRAINT fk_ml_model_events_name_version FOREIGN KEY(name, version) REFERENCES ml_trained_models (name, version)
);

CREATE INDEX ix_ml_model_events_name_event_key ON ml_model_events (name, event_key);

CREATE TABLE ml_training_items (
	run_id VARCHAR(64) COLLATE "C" NOT NULL,
	item_key VARCHAR(255) COLLATE "C" NOT NULL,
	shard_index INTEGER NOT NULL,
	config_id BIGINT NOT NULL,
	entity_type VARCHAR(16) COLLATE "C",
	entity_id VARCHAR(64) COLLATE "C",
	status VARCHAR(16) COLLATE "C" NOT NULL,
	reason TEXT DEFAULT '' NOT NULL,
	bad_data BOOLEAN DEFAULT false NOT NULL,
	seconds DOUBLE PRECISION,
	model_name VARCHAR(255) COLLATE "C",
	model_version INTEGER,
	metrics JSONB NOT NULL,
	attempts INTEGER DEFAULT '0' NOT NULL,
	updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
	CONSTRAINT pk_ml_training_items PRIMARY KEY (run_id, item_key),
	CONSTRAINT ck_ml_training_items_status CHECK (status IN ('PENDING', 'RUNNING', 'TRAINED', 'SKIPPED', 'FAILED')),
	CONSTRAINT fk_ml_training_items_run_id FOREIGN KEY(run_id) REFERENCES ml_training_runs (run_id)
);

CREATE TABLE ml_training_shards (
	run_id VARCHAR(64) COLLATE "C" NOT NULL,
	shard_index INTEGER NOT NULL,
	status VARCHAR(16) COLLATE "C" NOT NULL,
	exit_status INTEGER,
	detail TEXT DEFAULT '' NOT NULL,
	attempts INTEGER DEFAULT '0' NOT NULL,
	heartbeat_at TIMESTAMP WITH TIME ZONE,
	finished_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_ml_training_shards PRIMARY KEY (run_id, shard_index),
	CONSTRAINT ck_ml_training_shards_shard_index CHECK (shard_index >= 0),
	CONSTRAINT ck_ml_training_shards_status CHECK (status IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'INTERRUPTED', 'CANCELLED')),
	CONSTRAINT fk_ml_training_shards_run_id FOREIGN KEY(run_id) REFERENCES ml_training_runs (run_id)
);

CREATE TABLE restated_metrics (
	entity_key BIGINT NOT NULL,
	date DATE NOT NULL,
	loaded_at TIMESTAMP WITH TIME ZONE NOT NULL,
	spend DOUBLE PRECISION NOT NULL,
	impressions DOUBLE PRECISION NOT NULL,
	clicks DOUBLE PRECISION NOT NULL,
	leads DOUBLE PRECISION NOT NULL,
	reach DOUBLE PRECISION,
	CONSTRAINT pk_restated_metrics PRIMARY KEY (entity_key, date, loaded_at),
	CONSTRAINT fk_restated_metrics_entity_key FOREIGN KEY(entity_key) REFERENCES entities (entity_key)
);

CREATE TABLE daily_metrics_other PARTITION OF daily_metrics DEFAULT;

CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);

INSERT INTO alembic_version VALUES ('0005');

INSERT INTO schema_notes VALUES ('oldest_code', '0005');
