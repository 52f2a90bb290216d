-- Every counted usage event, and the view analysts start from.
-- Two sources may use the same id, and an identity that returns after the dedupe horizon is counted again: both stay
-- two rows, so the source and the place in the usage topic are part of the key. The key holds the day of `time`, and
-- the partition is its month, so every repeat of a row meets its original.
CREATE TABLE IF NOT EXISTS usage_events
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
PARTITION BY toYYYYMM(time)
ORDER BY (user, toDate(time), event_id, source, source_partition, source_offset)
COMMENT 'Storage of counted usage events; may hold repeats until they are merged. Query the view usage instead';

CREATE VIEW IF NOT EXISTS usage
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
COMMENT 'Usage and cost, one row per counted event: start here';
