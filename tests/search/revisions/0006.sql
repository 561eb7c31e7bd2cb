BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE sla_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT sla_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "sla_alembic_version" VALUES('0006');
CREATE TABLE sla_artifact (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	path VARCHAR(512) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	bytes BIGINT NOT NULL, 
	CONSTRAINT pk_sla_artifact PRIMARY KEY (id), 
	CONSTRAINT fk_sla_artifact_trial_id FOREIGN KEY(trial_id) REFERENCES sla_trial (id), 
	CONSTRAINT uq_sla_artifact_trial_id_name UNIQUE (trial_id, name)
);
INSERT INTO "sla_artifact" VALUES(1,1,'adapter.safetensors','artifacts/toy-1750000000/1/adapter.safetensors','26cc73f9fbf623d9a49bbf3f3d88f70195f2de68d7f25b5161f6700e6644cf44',7);
INSERT INTO "sla_artifact" VALUES(2,1,'adapter.json','artifacts/toy-1750000000/1/adapter.json','44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',2);
CREATE TABLE sla_checkpoint (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	node VARCHAR(255) NOT NULL, 
	CONSTRAINT pk_sla_checkpoint PRIMARY KEY (id), 
	CONSTRAINT fk_sla_checkpoint_trial_id FOREIGN KEY(trial_id) REFERENCES sla_trial (id)
);
CREATE TABLE sla_cost (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	value FLOAT, 
	unit VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_sla_cost PRIMARY KEY (id), 
	CONSTRAINT fk_sla_cost_trial_id FOREIGN KEY(trial_id) REFERENCES sla_trial (id)
);
INSERT INTO "sla_cost" VALUES(1,1,'train_seconds',1.5,'s');
INSERT INTO "sla_cost" VALUES(2,3,'train_seconds',1.5,'s');
CREATE TABLE sla_event (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	at FLOAT NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	CONSTRAINT pk_sla_event PRIMARY KEY (id), 
	CONSTRAINT fk_sla_event_study_id FOREIGN KEY(study_id) REFERENCES sla_study (id), 
	CONSTRAINT fk_sla_event_trial_id FOREIGN KEY(trial_id) REFERENCES sla_trial (id)
);
INSERT INTO "sla_event" VALUES(1,1,1,1750000000.0,'info','gate_health.ok','all well');
INSERT INTO "sla_event" VALUES(2,1,3,1750000000.0,'info','gate_health.ok','all well');
CREATE TABLE sla_gate (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	task VARCHAR(64) NOT NULL, 
	slot VARCHAR(128) NOT NULL, 
	layer INTEGER NOT NULL, 
	site VARCHAR(32) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	rank INTEGER NOT NULL, 
	idx INTEGER NOT NULL, 
	openness FLOAT, 
	value FLOAT, 
	open BOOLEAN NOT NULL, 
	parameters BIGINT NOT NULL, 
	CONSTRAINT pk_sla_gate PRIMARY KEY (id), 
	CONSTRAINT fk_sla_gate_trial_id FOREIGN KEY(trial_id) REFERENCES sla_trial (id)
);
INSERT INTO "sla_gate" VALUES(1,1,'spam','0:attn.q:lora:r4:0',0,'attn.q','lora',4,0,0.9,1.0,1,3072);
INSERT INTO "sla_gate" VALUES(2,3,'spam','0:attn.q:lora:r4:0',0,'attn.q','lora',4,0,0.9,1.0,1,3072);
CREATE TABLE sla_lease (
	study_id INTEGER NOT NULL, 
	token BIGINT NOT NULL, 
	holder TEXT, 
	renewed_at FLOAT NOT NULL, 
	CONSTRAINT pk_sla_lease PRIMARY KEY (study_id), 
	CONSTRAINT fk_sla_lease_study_id FOREIGN KEY(study_id) REFERENCES sla_study (id)
);
INSERT INTO "sla_lease" VALUES(1,29,'{"host": "vanished", "boot": "", "namespace": "", "pid": 1, "started": "1", "since": 1750000000.0, "nonce": "c893301e4e38ee7c"}',1750000000.0);
CREATE TABLE sla_metric (
	id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	task VARCHAR(64) NOT NULL, 
	split VARCHAR(16) NOT NULL, 
	condition VARCHAR(64) NOT NULL, 
	level FLOAT NOT NULL, 
	metric VARCHAR(64) NOT NULL, 
	step INTEGER, 
	value FLOAT, 
	examples INTEGER, 
	error FLOAT, labels BLOB, predicted BLOB, 
	CONSTRAINT pk_sla_metric PRIMARY KEY (id), 
	CONSTRAINT fk_sla_metric_trial_id FOREIGN KEY(trial_id) REFERENCES sla_trial (id)
);
INSERT INTO "sla_metric" VALUES(1,1,'*','validation','clean',0.0,'score',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(2,1,'spam','validation','clean',0.0,'accuracy',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(3,2,'*','validation','clean',0.0,'score',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(4,2,'spam','validation','clean',0.0,'accuracy',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(5,3,'*','validation','clean',0.0,'score',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(6,3,'spam','validation','clean',0.0,'accuracy',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(7,1,'spam','validation','clean',0.0,'accuracy',NULL,0.51,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(8,3,'spam','validation','clean',0.0,'accuracy',NULL,0.55,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(9,4,'*','validation','clean',0.0,'score',4,0.5,NULL,NULL,NULL,NULL);
INSERT INTO "sla_metric" VALUES(10,4,'spam','validation','clean',0.0,'accuracy',4,0.5,NULL,NULL,NULL,NULL);
CREATE TABLE sla_request (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	verb VARCHAR(16) NOT NULL, 
	trials TEXT, 
	at_once BOOLEAN NOT NULL, 
	asked_at FLOAT NOT NULL, 
	done_at FLOAT, 
	outcome TEXT, 
	CONSTRAINT pk_sla_request PRIMARY KEY (id), 
	CONSTRAINT fk_sla_request_study_id FOREIGN KEY(study_id) REFERENCES sla_study (id)
);
CREATE TABLE sla_study (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	config TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	data TEXT, 
	seed BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	CONSTRAINT pk_sla_study PRIMARY KEY (id), 
	CONSTRAINT uq_sla_study_name UNIQUE (name)
);
INSERT INTO "sla_study" VALUES(1,'toy','{"name":"toy","description":"","seed":0,"backbone":{"id":"bundled:minilm","precision":"fp32","pooling":"auto","gradient_checkpointing":false},"tasks":[{"name":"spam","source":"bundled:spam","text":"text","text_pair":null,"label":"label","limits":{"train":null,"gate":0,"validation":null,"test":null},"max_tokens":64,"metric":"accuracy","weight":1.0,"splits":{}}],"pool":{"preset":null,"sites":["attn.q"],"kinds":["lora"],"ranks":{"float":null,"log_float":null,"int":null,"categorical":[[1],[4],[1,4]],"when":{}},"kind_ranks":{},"layers":"all","gating":"slot","start":"random"},"gates":{"family":"hard_concrete","temperature":null,"temperature_start":null,"temperature_schedule":"geometric","learning_rate":0.05,"warm_up":0.1,"initial_openness":0.9,"threshold":0.5,"learn_on":"auto"},"size_control":{"mode":"penalty","sparsity_weight":{"float":null,"log_float":[0.01,1.0],"int":null,"categorical":null,"when":{}},"ramp":0.2,"schedule":"linear","path":null},"training":{"epochs":1.0,"steps":null,"batch_size":32,"learning_rate":{"float":null,"log_float":[0.0001,0.01],"int":null,"categorical":null,"when":{}},"head_learning_rate":0.01,"weight_decay":0.01,"schedule":"linear","gradient_clip":1.0,"reports":4,"kind_factors":{},"task_temperature":1.0,"multitask":"joint","early_stop":null,"seeds":{"init":0,"data":0}},"finalisation":{"ranking":"gate","finish":"continue","share":0.4,"gap":true},"conditions":{"train":[],"measured":[],"share":1.0,"race":null},"phases":{"design":{"sampler":{"name":"one_at_a_time","options":{}},"levels":{"size_control.sparsity_weight":[0.02,0.1,0.5]},"base":{"size_control.sparsity_weight":0.1},"points":null,"seeds":1},"optimise":{"sampler":{"name":"random","options":{}},"trials":2,"pruner":{"name":"none","options":{}},"seeds":1,"warm_start":null},"confirm":{"top":1,"seeds":1,"controls":["lora"],"tuning":0,"tuning_seeds":1}},"objectives":[{"name":"score","measure":null,"direction":"maximize"},{"name":"exported_parameters","measure":null,"direction":"minimize"}],"constraints":[],"resources":{"cpus_per_trial":1,"gpus_per_trial":0.0,"max_concurrent_trials":2,"cache_gib":4.0,"checkpoint_minutes":10.0,"checkpoint_folder":null,"storage_path":null},"limits":{"max_hours":null,"max_device_hours":null,"max_retries":2,"failure_window":10}}','d04d83b708a7d0fdbd0e3cf500e6eebb80f226d726c46f169b4cb76908f8b74c',NULL,0,'running','0.1.0',1750000000.0,1750000000.0);
CREATE TABLE sla_trial (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	optuna_study VARCHAR(16) NOT NULL, 
	number INTEGER, 
	phase VARCHAR(16) NOT NULL, 
	role VARCHAR(64) NOT NULL, 
	sampler VARCHAR(32) NOT NULL, 
	factor VARCHAR(255), 
	point INTEGER, 
	repeat INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	retry_of INTEGER, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT, 
	params TEXT NOT NULL, 
	spec TEXT NOT NULL, 
	config_hash VARCHAR(64) NOT NULL, 
	init_seed BIGINT NOT NULL, 
	data_seed BIGINT NOT NULL, 
	pair_of INTEGER, 
	control_size BIGINT, 
	control_variant VARCHAR(64), 
	ray_trial_id VARCHAR(64), 
	worker VARCHAR(255), 
	score FLOAT, 
	exported_parameters FLOAT, 
	robustness FLOAT, 
	budget INTEGER, 
	budget_max INTEGER, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	ended_at FLOAT, 
	log VARCHAR(512), latency FLOAT, sampler_notes TEXT, 
	CONSTRAINT pk_sla_trial PRIMARY KEY (id), 
	CONSTRAINT fk_sla_trial_pair_of FOREIGN KEY(pair_of) REFERENCES sla_trial (id), 
	CONSTRAINT fk_sla_trial_retry_of FOREIGN KEY(retry_of) REFERENCES sla_trial (id), 
	CONSTRAINT fk_sla_trial_study_id FOREIGN KEY(study_id) REFERENCES sla_study (id), 
	CONSTRAINT uq_sla_trial_study_id_optuna_study_number UNIQUE (study_id, optuna_study, number)
);
INSERT INTO "sla_trial" VALUES(1,1,'search',0,'design','search','one_at_a_time',NULL,0,0,1,NULL,'complete',NULL,'{"pool.ranks": "[1]", "size_control.sparsity_weight": 0.1, "training.learning_rate": 0.001}','{"study": "toy", "backbone": {"id": "bundled:minilm", "precision": "fp32", "pooling": "auto", "gradient_checkpointing": false}, "tasks": [{"name": "spam", "source": "bundled:spam", "text": "text", "text_pair": null, "label": "label", "limits": {"train": null, "gate": 0, "validation": null, "test": null}, "max_tokens": 64, "metric": "accuracy", "weight": 1.0, "seed": 0, "splits": []}], "pool": {"sites": ["attn.q"], "kinds": ["lora"], "ranks": [1], "layers": null, "gating": "slot", "start": "random", "kind_ranks": []}, "gates": {"family": "hard_concrete", "learning_rate": 0.05, "warm_up": 0.1, "initial_openness": 0.9, "threshold": 0.5, "temperature": null, "temperature_start": null, "temperature_schedule": "geometric", "learn_on": "auto", "shared": false}, "size": {"mode": "penalty", "sparsity_weight": 0.1, "budget": null, "scope": "union", "ramp": 0.2, "schedule": "linear", "path": []}, "training": {"batch_size": 32, "learning_rate": 0.001, "head_learning_rate": 0.01, "weight_decay": 0.01, "schedule": "linear", "epochs": 1.0, "steps": null, "gradient_clip": 1.0, "reports": 4, "kind_factors": [], "task_temperature": 1.0, "multitask": "joint", "early_stop": null}, "train_conditions": [], "measured": [], "seeds": {"init": 0, "data": 0}, "robustness": "noisy_score", "splits": ["validation"], "control": null, "control_size": null, "control_variant": null, "finalisation": {"ranking": "gate", "finish": "continue", "share": 0.4, "gap": true}, "measured_share": 1.0, "race": false, "latency": false, "recurring": false}','108e9f831c27c926ab14ed794d891a90a192d6340c8ff49ea4c97025f236efda',0,0,NULL,NULL,NULL,'ray1','w',0.51,1000.0,NULL,8,8,1750000000.0,1750000000.0,1750000000.0,'logs/toy-1750000000/1-1.log',NULL,NULL);
INSERT INTO "sla_trial" VALUES(2,1,'search',1,'design','search','one_at_a_time','size_control.sparsity_weight',1,0,1,NULL,'pruned','stopped by the pruner at step 4 of 8','{"pool.ranks": "[1]", "size_control.sparsity_weight": 0.02, "training.learning_rate": 0.001}','{"study": "toy", "backbone": {"id": "bundled:minilm", "precision": "fp32", "pooling": "auto", "gradient_checkpointing": false}, "tasks": [{"name": "spam", "source": "bundled:spam", "text": "text", "text_pair": null, "label": "label", "limits": {"train": null, "gate": 0, "validation": null, "test": null}, "max_tokens": 64, "metric": "accuracy", "weight": 1.0, "seed": 0, "splits": []}], "pool": {"sites": ["attn.q"], "kinds": ["lora"], "ranks": [1], "layers": null, "gating": "slot", "start": "random", "kind_ranks": []}, "gates": {"family": "hard_concrete", "learning_rate": 0.05, "warm_up": 0.1, "initial_openness": 0.9, "threshold": 0.5, "temperature": null, "temperature_start": null, "temperature_schedule": "geometric", "learn_on": "auto", "shared": false}, "size": {"mode": "penalty", "sparsity_weight": 0.02, "budget": null, "scope": "union", "ramp": 0.2, "schedule": "linear", "path": []}, "training": {"batch_size": 32, "learning_rate": 0.001, "head_learning_rate": 0.01, "weight_decay": 0.01, "schedule": "linear", "epochs": 1.0, "steps": null, "gradient_clip": 1.0, "reports": 4, "kind_factors": [], "task_temperature": 1.0, "multitask": "joint", "early_stop": null}, "train_conditions": [], "measured": [], "seeds": {"init": 0, "data": 0}, "robustness": "noisy_score", "splits": ["validation"], "control": null, "control_size": null, "control_variant": null, "finalisation": {"ranking": "gate", "finish": "continue", "share": 0.4, "gap": true}, "measured_share": 1.0, "race": false, "latency": false, "recurring": false}','86e008dec4d6b5637ed68de3ba39b65274f6b9c8d5797e95be384d1858702941',0,0,NULL,NULL,NULL,'ray2','w',0.5,NULL,NULL,4,8,1750000000.0,1750000000.0,1750000000.0,'logs/toy-1750000000/2-1.log',NULL,NULL);
INSERT INTO "sla_trial" VALUES(3,1,'search',2,'design','search','one_at_a_time','size_control.sparsity_weight',2,0,1,NULL,'fail','no memory','{"pool.ranks": "[1]", "size_control.sparsity_weight": 0.5, "training.learning_rate": 0.001}','{"study": "toy", "backbone": {"id": "bundled:minilm", "precision": "fp32", "pooling": "auto", "gradient_checkpointing": false}, "tasks": [{"name": "spam", "source": "bundled:spam", "text": "text", "text_pair": null, "label": "label", "limits": {"train": null, "gate": 0, "validation": null, "test": null}, "max_tokens": 64, "metric": "accuracy", "weight": 1.0, "seed": 0, "splits": []}], "pool": {"sites": ["attn.q"], "kinds": ["lora"], "ranks": [1], "layers": null, "gating": "slot", "start": "random", "kind_ranks": []}, "gates": {"family": "hard_concrete", "learning_rate": 0.05, "warm_up": 0.1, "initial_openness": 0.9, "threshold": 0.5, "temperature": null, "temperature_start": null, "temperature_schedule": "geometric", "learn_on": "auto", "shared": false}, "size": {"mode": "penalty", "sparsity_weight": 0.5, "budget": null, "scope": "union", "ramp": 0.2, "schedule": "linear", "path": []}, "training": {"batch_size": 32, "learning_rate": 0.001, "head_learning_rate": 0.01, "weight_decay": 0.01, "schedule": "linear", "epochs": 1.0, "steps": null, "gradient_clip": 1.0, "reports": 4, "kind_factors": [], "task_temperature": 1.0, "multitask": "joint", "early_stop": null}, "train_conditions": [], "measured": [], "seeds": {"init": 0, "data": 0}, "robustness": "noisy_score", "splits": ["validation"], "control": null, "control_size": null, "control_variant": null, "finalisation": {"ranking": "gate", "finish": "continue", "share": 0.4, "gap": true}, "measured_share": 1.0, "race": false, "latency": false, "recurring": false}','c563ae860c14a12a1493551003a366b9240694b8fb068b76c47039c5e16848df',0,0,NULL,NULL,NULL,'ray3','w',NULL,NULL,NULL,8,8,1750000000.0,1750000000.0,1750000000.0,'logs/toy-1750000000/3-1.log',NULL,NULL);
INSERT INTO "sla_trial" VALUES(4,1,'search',3,'optimise','search','random',NULL,NULL,0,1,NULL,'running',NULL,'{"pool.ranks": "[1, 4]", "size_control.sparsity_weight": 0.048433259184588184, "training.learning_rate": 0.0034948180376737333}','{"study": "toy", "backbone": {"id": "bundled:minilm", "precision": "fp32", "pooling": "auto", "gradient_checkpointing": false}, "tasks": [{"name": "spam", "source": "bundled:spam", "text": "text", "text_pair": null, "label": "label", "limits": {"train": null, "gate": 0, "validation": null, "test": null}, "max_tokens": 64, "metric": "accuracy", "weight": 1.0, "seed": 0, "splits": []}], "pool": {"sites": ["attn.q"], "kinds": ["lora"], "ranks": [1, 4], "layers": null, "gating": "slot", "start": "random", "kind_ranks": []}, "gates": {"family": "hard_concrete", "learning_rate": 0.05, "warm_up": 0.1, "initial_openness": 0.9, "threshold": 0.5, "temperature": null, "temperature_start": null, "temperature_schedule": "geometric", "learn_on": "auto", "shared": false}, "size": {"mode": "penalty", "sparsity_weight": 0.048433259184588184, "budget": null, "scope": "union", "ramp": 0.2, "schedule": "linear", "path": []}, "training": {"batch_size": 32, "learning_rate": 0.0034948180376737333, "head_learning_rate": 0.01, "weight_decay": 0.01, "schedule": "linear", "epochs": 1.0, "steps": null, "gradient_clip": 1.0, "reports": 4, "kind_factors": [], "task_temperature": 1.0, "multitask": "joint", "early_stop": null}, "train_conditions": [], "measured": [], "seeds": {"init": 0, "data": 0}, "robustness": "noisy_score", "splits": ["validation"], "control": null, "control_size": null, "control_variant": null, "finalisation": {"ranking": "gate", "finish": "continue", "share": 0.4, "gap": true}, "measured_share": 1.0, "race": false, "latency": false, "recurring": false}','8ded20aaaea1de9cbb362df9951ff0a7292e5b22ca32e24b5174a7a5a4312b71',0,0,NULL,NULL,NULL,'ray4','w',0.5,NULL,NULL,4,8,1750000000.0,1750000000.0,NULL,NULL,NULL,NULL);
CREATE TABLE sla_warm_start (
	study_id INTEGER NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	data TEXT, 
	left_out INTEGER NOT NULL, 
	trials TEXT NOT NULL, 
	CONSTRAINT pk_sla_warm_start PRIMARY KEY (study_id), 
	CONSTRAINT fk_sla_warm_start_study_id FOREIGN KEY(study_id) REFERENCES sla_study (id)
);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'toy');
INSERT INTO "studies" VALUES(2,'toy.confirm');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',1,1);
INSERT INTO "study_directions" VALUES(3,'MAXIMIZE',2,0);
INSERT INTO "study_directions" VALUES(4,'MINIMIZE',2,1);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["score", "exported_parameters"]');
INSERT INTO "study_system_attributes" VALUES(2,2,'study:metric_names','["score", "exported_parameters"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'pool.ranks',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["[1]", "[4]", "[1, 4]"]}}');
INSERT INTO "trial_params" VALUES(2,1,'size_control.sparsity_weight',0.1,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(3,1,'training.learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(4,2,'pool.ranks',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["[1]", "[4]", "[1, 4]"]}}');
INSERT INTO "trial_params" VALUES(5,2,'size_control.sparsity_weight',0.02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(6,2,'training.learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(7,3,'pool.ranks',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["[1]", "[4]", "[1, 4]"]}}');
INSERT INTO "trial_params" VALUES(8,3,'size_control.sparsity_weight',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(9,3,'training.learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(10,4,'pool.ranks',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["[1]", "[4]", "[1, 4]"]}}');
INSERT INTO "trial_params" VALUES(11,4,'size_control.sparsity_weight',4.84332591845881843e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(12,4,'training.learning_rate',3.49481803767373328e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'phase','"design"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'sampler','"one_at_a_time"');
INSERT INTO "trial_user_attributes" VALUES(3,1,'role','"search"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'short','"design point 0, seed 1"');
INSERT INTO "trial_user_attributes" VALUES(5,1,'trial','1');
INSERT INTO "trial_user_attributes" VALUES(6,2,'phase','"design"');
INSERT INTO "trial_user_attributes" VALUES(7,2,'sampler','"one_at_a_time"');
INSERT INTO "trial_user_attributes" VALUES(8,2,'role','"search"');
INSERT INTO "trial_user_attributes" VALUES(9,2,'short','"design point 1, seed 1"');
INSERT INTO "trial_user_attributes" VALUES(10,2,'trial','2');
INSERT INTO "trial_user_attributes" VALUES(11,3,'phase','"design"');
INSERT INTO "trial_user_attributes" VALUES(12,3,'sampler','"one_at_a_time"');
INSERT INTO "trial_user_attributes" VALUES(13,3,'role','"search"');
INSERT INTO "trial_user_attributes" VALUES(14,3,'short','"design point 2, seed 1"');
INSERT INTO "trial_user_attributes" VALUES(15,3,'trial','3');
INSERT INTO "trial_user_attributes" VALUES(16,2,'reason','"stopped by the pruner at step 4 of 8"');
INSERT INTO "trial_user_attributes" VALUES(17,3,'reason','"no memory"');
INSERT INTO "trial_user_attributes" VALUES(18,4,'phase','"optimise"');
INSERT INTO "trial_user_attributes" VALUES(19,4,'sampler','"random"');
INSERT INTO "trial_user_attributes" VALUES(20,4,'role','"search"');
INSERT INTO "trial_user_attributes" VALUES(21,4,'short','"optimise"');
INSERT INTO "trial_user_attributes" VALUES(22,4,'trial','4');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.51,'FINITE');
INSERT INTO "trial_values" VALUES(2,1,1,1000.0,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-29 12:16:41.934520','2026-11-29 12:16:42.016327');
INSERT INTO "trials" VALUES(2,1,1,'PRUNED','2026-11-29 12:16:41.977818','2026-11-29 12:16:42.024296');
INSERT INTO "trials" VALUES(3,2,1,'FAIL','2026-11-29 12:16:41.994062','2026-11-29 12:16:42.027728');
INSERT INTO "trials" VALUES(4,3,1,'RUNNING','2026-11-29 12:16:42.061849',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE INDEX ix_sla_trial_study_id ON sla_trial (study_id);
CREATE INDEX ix_sla_cost_trial_id ON sla_cost (trial_id);
CREATE INDEX ix_sla_event_study_id_trial_id ON sla_event (study_id, trial_id);
CREATE INDEX ix_sla_gate_trial_id ON sla_gate (trial_id);
CREATE INDEX ix_sla_metric_trial_id ON sla_metric (trial_id);
CREATE INDEX ix_sla_request_study_id ON sla_request (study_id);
CREATE INDEX ix_sla_checkpoint_trial_id ON sla_checkpoint (trial_id);
CREATE INDEX ix_sla_trial_retry_of ON sla_trial (retry_of);
CREATE INDEX ix_sla_trial_pair_of ON sla_trial (pair_of);
CREATE INDEX ix_sla_event_trial_id ON sla_event (trial_id);
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
