-- Usage events in one partition per day instead of per month, and a view that reads each partition by itself.
-- FINAL compares the rows of parts that overlap. A day that is over is soon one part, in which nothing is to be compared,
-- so that only the days which are written now cost more than a plain read. The order key holds the day, so that every
-- repeat of a row is in the partition of its original, as before.
--
-- Rows that are there are copied, and nothing is lost when sinks go on meanwhile: after the new name they write into the
-- new table, and until the copy is complete the view shows less. An insert that was under way at the renaming ends in
-- the old table, and its sink waits for the answer 30 seconds at most, so the copy begins later than that.

-- only if: SELECT partition_key = 'toYYYYMM(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events'
CREATE TABLE IF NOT EXISTS usage_events_by_day
(
    event_id String COMMENT 'Identity of the usage event together with source',
    source LowCardinality(String) COMMENT 'Program that sent the event; identity together with event_id',
    time DateTime64(3, 'UTC') COMMENT 'When the usage happened, as the service reported it (UTC); it decides hour, day and month',
    kind LowCardinality(String) COMMENT 'usage, or adjustment: a later entry that corrects an earlier cost',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    org LowCardinality(String) COMMENT 'Organisation of the user; empty when not given',
    service LowCardinality(String) COMMENT 'Service that made the call; empty when not given',
    provider LowCardinality(String) COMMENT 'Provider of the paid API, for example openai; empty when not given',
    model LowCardinality(String) COMMENT 'Model or product of the provider, for example gpt-4o; empty when not given',
    agent LowCardinality(String) COMMENT 'Agent that made the call, for example SEO; empty when not given',
    campaign LowCardinality(String) COMMENT 'Campaign the call belongs to; empty when not given',
    feature LowCardinality(String) COMMENT 'Feature of the product, for example chat; empty when not given',
    product LowCardinality(String) COMMENT 'Product the user was using; empty when not given',
    operation LowCardinality(String) COMMENT 'Kind of call, for example chat.completion; empty when not given',
    status LowCardinality(String) COMMENT 'success, error, rate_limited or cancelled; other than success costs 0 unless the provider billed it',
    latency_ms Nullable(UInt32) COMMENT 'Duration of the call in milliseconds; null when not given',
    resource_type LowCardinality(String) COMMENT 'Type of the thing made, for example VIDEO; empty when not given',
    resource_id String COMMENT 'Id of the thing made; empty when not given',
    request_id String COMMENT 'Id of the request at the provider or service; empty when not given',
    usage Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'Amounts by dimension, for example usage[\'input_tokens\']; a dimension not given reads as 0',
    options Map(LowCardinality(String), String) COMMENT 'Options of the call that may decide its price, for example options[\'size\']',
    cost_usd Decimal(38, 12) COMMENT 'Cost in USD: price times usage, exact',
    retail_usd Decimal(38, 12) COMMENT 'What the user was charged in USD, exact; 0 when nothing was',
    price_id LowCardinality(String) COMMENT 'The price that was used, one of the price book or of prices.id; empty when the cost was reported',
    price_status LowCardinality(String) COMMENT 'priced, reported (cost came with the event), free, unpriced (price unknown, an estimate stands in) or corrected',
    source_partition Int32 COMMENT 'Partition of the event in the usage topic',
    source_offset Int64 COMMENT 'Offset of the event in its partition of the usage topic',
    version Int64 COMMENT 'Version of this entry; of equal entries the highest one counts',
    metadata String COMMENT 'Free data of the event, a JSON object',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse',
    INDEX event_id_bloom event_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toDate(time)
ORDER BY (user, toDate(time), event_id, source, source_partition, source_offset)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Storage of counted usage events; may hold repeats until they are merged. Query the view usage instead';

-- Both names are locked together, so that nobody finds or makes a table of this name in between.
-- only if: SELECT partition_key = 'toYYYYMM(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events'
RENAME TABLE usage_events TO usage_events_by_month, usage_events_by_day TO usage_events;

-- A server that crashed between the two.
-- only if: SELECT countIf(name = 'usage_events') = 0 FROM system.tables WHERE database = currentDatabase()
RENAME TABLE usage_events_by_day TO usage_events;

CREATE OR REPLACE VIEW usage
(
    event_id String COMMENT 'Identity of the usage event together with source',
    source LowCardinality(String) COMMENT 'Program that sent the event; identity together with event_id',
    time DateTime64(3, 'UTC') COMMENT 'When the usage happened, as the service reported it (UTC); it decides hour, day and month',
    kind LowCardinality(String) COMMENT 'usage, or adjustment: a later entry that corrects an earlier cost',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    org LowCardinality(String) COMMENT 'Organisation of the user; empty when not given',
    service LowCardinality(String) COMMENT 'Service that made the call; empty when not given',
    provider LowCardinality(String) COMMENT 'Provider of the paid API, for example openai; empty when not given',
    model LowCardinality(String) COMMENT 'Model or product of the provider, for example gpt-4o; empty when not given',
    agent LowCardinality(String) COMMENT 'Agent that made the call, for example SEO; empty when not given',
    campaign LowCardinality(String) COMMENT 'Campaign the call belongs to; empty when not given',
    feature LowCardinality(String) COMMENT 'Feature of the product, for example chat; empty when not given',
    product LowCardinality(String) COMMENT 'Product the user was using; empty when not given',
    operation LowCardinality(String) COMMENT 'Kind of call, for example chat.completion; empty when not given',
    status LowCardinality(String) COMMENT 'success, error, rate_limited or cancelled; other than success costs 0 unless the provider billed it',
    latency_ms Nullable(UInt32) COMMENT 'Duration of the call in milliseconds; null when not given',
    resource_type LowCardinality(String) COMMENT 'Type of the thing made, for example VIDEO; empty when not given',
    resource_id String COMMENT 'Id of the thing made; empty when not given',
    request_id String COMMENT 'Id of the request at the provider or service; empty when not given',
    usage Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'Amounts by dimension, for example usage[\'input_tokens\']; a dimension not given reads as 0',
    options Map(LowCardinality(String), String) COMMENT 'Options of the call that may decide its price, for example options[\'size\']',
    cost_usd Decimal(38, 12) COMMENT 'Cost in USD: price times usage, exact',
    retail_usd Decimal(38, 12) COMMENT 'What the user was charged in USD, exact; 0 when nothing was',
    price_id LowCardinality(String) COMMENT 'The price that was used, one of the price book or of prices.id; empty when the cost was reported',
    price_status LowCardinality(String) COMMENT 'priced, reported (cost came with the event), free, unpriced (price unknown, an estimate stands in) or corrected',
    source_partition Int32 COMMENT 'Partition of the event in the usage topic',
    source_offset Int64 COMMENT 'Offset of the event in its partition of the usage topic',
    version Int64 COMMENT 'Version of this entry; of equal entries the highest one counts',
    metadata String COMMENT 'Free data of the event, a JSON object',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    event_id, source, time, kind, user, org, service, provider, model, agent, campaign, feature, product,
    operation, status, latency_ms, resource_type, resource_id, request_id, usage, options, cost_usd,
    retail_usd, price_id, price_status, source_partition, source_offset, version, metadata, ingested_at
FROM usage_events FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Usage and cost, one row per counted event: start here';

-- only if: SELECT total_rows > 0 FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events_by_month'
SELECT sum(sleepEachRow(1)) FROM numbers(35) SETTINGS max_block_size = 1;

-- only if: SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events_by_month'
INSERT INTO usage_events SELECT * FROM usage_events_by_month SETTINGS max_partitions_per_insert_block = 0;

DROP TABLE IF EXISTS usage_events_by_month SETTINGS max_table_size_to_drop = 0;

-- Two processes that migrate at once may have made it twice.
DROP TABLE IF EXISTS usage_events_by_day;
