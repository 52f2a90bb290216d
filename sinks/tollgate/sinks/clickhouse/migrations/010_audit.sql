-- Who changed what: every change of a budget, price, token or setting, and the last one beside each budget and price.
CREATE TABLE IF NOT EXISTS audit_records
(
    id String COMMENT 'Id of the change; later ones sort behind earlier ones',
    time DateTime64(3, 'UTC') COMMENT 'When the change was made',
    actor String COMMENT 'Who made it: cli: and the system\'s user, or the caller\'s name in the console',
    action LowCardinality(String) COMMENT 'set or remove',
    key String COMMENT 'Key of the changed record in the control topic, for example budget/user/u-42:month:usd',
    kind LowCardinality(String) COMMENT 'What was changed: budget, price, token, setting',
    before String COMMENT 'The record before the change as JSON, without hashes of tokens; empty when there was none',
    after String COMMENT 'The record after the change as JSON, without hashes of tokens; empty when it was removed',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'The record\'s version after the change; a removal counts as one',
    source_partition Int32 COMMENT 'Partition of the record in the audit topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is later',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (time, source_partition, source_offset)
COMMENT 'Storage of the audit; may hold repeats until they are merged. Query the view audit instead';

CREATE VIEW IF NOT EXISTS audit
(
    id String COMMENT 'Id of the change; later ones sort behind earlier ones',
    time DateTime64(3, 'UTC') COMMENT 'When the change was made',
    actor String COMMENT 'Who made it: cli: and the system\'s user, or the caller\'s name in the console',
    action LowCardinality(String) COMMENT 'set or remove',
    key String COMMENT 'Key of the changed record in the control topic, for example budget/user/u-42:month:usd',
    kind LowCardinality(String) COMMENT 'What was changed: budget, price, token, setting',
    before String COMMENT 'The record before the change as JSON, without hashes of tokens; empty when there was none',
    after String COMMENT 'The record after the change as JSON, without hashes of tokens; empty when it was removed',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'The record\'s version after the change; a removal counts as one',
    source_partition Int32 COMMENT 'Partition of the record in the audit topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is later',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, time, actor, action, key, kind, before, after, reason, version, source_partition, source_offset, ingested_at
FROM audit_records FINAL
COMMENT 'Who changed which budget, price, token or setting from what to what, when and why; one row each';

ALTER TABLE budget_records
    ADD COLUMN IF NOT EXISTS actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    ADD COLUMN IF NOT EXISTS reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    ADD COLUMN IF NOT EXISTS version Int64 DEFAULT 1 COMMENT 'Rises by 1 with every change; 1 where a record of an early release has none';

CREATE OR REPLACE VIEW budgets
(
    id String COMMENT 'Id of the budget',
    scope String COMMENT 'Whose spend is limited: global, dimension/name, or a pattern such as user/*',
    `limit` Decimal(38, 12) COMMENT 'The limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    window LowCardinality(String) COMMENT 'hour, day, month or lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    warning_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level warning begins; null when it is not set',
    warning_action LowCardinality(String) COMMENT 'What happens at the level warning: alert, downgrade, block or stop',
    critical_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level critical begins; null when it is not set',
    critical_action LowCardinality(String) COMMENT 'What happens at the level critical: alert, downgrade, block or stop',
    emergency_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level emergency begins; null when it is not set',
    emergency_action LowCardinality(String) COMMENT 'What happens at the level emergency: alert, downgrade, block or stop',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the budget was set',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'Rises by 1 with every change; 1 where a record of an early release has none',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, scope, `limit`, unit, window, timezone, warning_percent, warning_action, critical_percent,
    critical_action, emergency_percent, emergency_action, updated_at, actor, reason, version, source_partition,
    source_offset, ingested_at
FROM (SELECT * FROM budget_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'The budgets in force, one row each';

ALTER TABLE price_records
    ADD COLUMN IF NOT EXISTS updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the price was set; null when not known',
    ADD COLUMN IF NOT EXISTS actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    ADD COLUMN IF NOT EXISTS reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    ADD COLUMN IF NOT EXISTS version Int64 DEFAULT 1 COMMENT 'Rises by 1 with every change; 1 where a record of an early release has none';

CREATE OR REPLACE VIEW prices
(
    id String COMMENT 'Id of the price, as in usage.price_id',
    provider LowCardinality(String) COMMENT 'Provider the price is for; empty for any',
    model LowCardinality(String) COMMENT 'Model the price is for; empty for any',
    agent LowCardinality(String) COMMENT 'Agent the price is for; empty for any',
    options Map(LowCardinality(String), String) COMMENT 'Options an event must have for this price',
    rates Array(Tuple(dimension String, usd Decimal(38, 12), per Decimal(38, 9))) COMMENT 'USD for so many units of each dimension: usd / per is the price of one unit',
    effective_from Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the price holds',
    effective_to Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which it no longer holds; null when it is open',
    source String COMMENT 'Where the price comes from',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the price was set; null when not known',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'Rises by 1 with every change; 1 where a record of an early release has none',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, provider, model, agent, options, rates, effective_from, effective_to, source, updated_at,
    actor, reason, version, source_partition, source_offset, ingested_at
FROM (SELECT * FROM price_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'The prices set at run time that are in force, one row each; the shipped price book is not here';
