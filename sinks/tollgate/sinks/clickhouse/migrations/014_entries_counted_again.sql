-- The worker remembers an identity for 35 days from when it counted it, and counts it again after that. So does the view:
-- it follows the records of an identity in the order of their offsets, which are one record for nearly all. What the
-- worker refused is a dead letter.
CREATE OR REPLACE VIEW entries
(
    type LowCardinality(String) COMMENT 'tollgate.credit.v1, tollgate.revenue.v1 or tollgate.adjustment.v1',
    source LowCardinality(String) COMMENT 'Program that sent the entry; identity together with type, id and user',
    id String COMMENT 'Id of the entry; identity together with type, source and user',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    time DateTime64(3, 'UTC') COMMENT 'When it happened, as the sender reported it (UTC); it decides the windows of revenue',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the broker took it',
    kind LowCardinality(String) COMMENT 'Of credits: purchase, bonus, prize, referral, refund or correction. Of revenue: subscription, credit_purchase, one_time or refund. Empty for an adjustment',
    credits Decimal(38, 9) COMMENT 'Credits that the user got; negative when they were taken back; 0 for other entries',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the credits no longer count; null when they stay',
    note String COMMENT 'Why the credits were given; empty when not given',
    amount_usd Decimal(38, 12) COMMENT 'Revenue in USD, exact; negative for a refund; 0 for other entries',
    currency LowCardinality(String) COMMENT 'Currency in which was paid; empty when not given',
    amount Nullable(Decimal(38, 12)) COMMENT 'What was paid, in currency; null when not given',
    plan LowCardinality(String) COMMENT 'Plan that was paid for; empty when not given',
    reference String COMMENT 'Id of the payment at Stripe; empty when not given',
    org LowCardinality(String) COMMENT 'Organisation, as in usage; empty when not given',
    service LowCardinality(String) COMMENT 'Service of the corrected event; empty when not given',
    provider LowCardinality(String) COMMENT 'Provider of the corrected event; empty when not given',
    model LowCardinality(String) COMMENT 'Model of the corrected event; empty when not given',
    agent LowCardinality(String) COMMENT 'Agent of the corrected event; empty when not given',
    campaign LowCardinality(String) COMMENT 'Campaign of the corrected event; empty when not given',
    feature LowCardinality(String) COMMENT 'Feature of the product that was paid for, or of the corrected event; empty when not given',
    product LowCardinality(String) COMMENT 'Product that was paid for, or of the corrected event; empty when not given',
    event_source LowCardinality(String) COMMENT 'Source of the event that an adjustment corrects; empty for other entries',
    event_id String COMMENT 'Id of the event that an adjustment corrects; empty for other entries',
    event_time Nullable(DateTime64(3, 'UTC')) COMMENT 'Time of the event that an adjustment corrects, which decides its windows; null for other entries',
    cost_usd Decimal(38, 12) COMMENT 'What an adjustment adds to the cost in USD, with its sign; 0 for other entries',
    retail_usd Decimal(38, 12) COMMENT 'What an adjustment adds to the retail value in USD, with its sign; 0 for other entries',
    price_id LowCardinality(String) COMMENT 'The price that an adjustment used; empty for other entries',
    reason String COMMENT 'Why the event was corrected; empty for other entries',
    source_partition Int32 COMMENT 'Partition of the record in the entries topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    type, source, id, user, time, recorded_at, kind, credits, expires_at, note, amount_usd, currency, amount, plan,
    reference, org, service, provider, model, agent, campaign, feature, product, event_source, event_id,
    event_time, cost_usd, retail_usd, price_id, reason, source_partition, source_offset, ingested_at
FROM (
    SELECT
        *,
        (source_offset, source_partition, toUnixTimestamp(recorded_at)) AS place,
        groupArray(place) OVER (PARTITION BY user, type, source, id) AS places
    FROM entry_records FINAL
    WHERE (source_partition, source_offset) NOT IN (
        SELECT source_partition, source_offset FROM dead_letter_records WHERE endsWith(source_topic, 'entries')))
WHERE if(length(places) = 1, true, has(
    arrayFold(
        (counted, one) -> if(empty(counted) OR one.3 > counted[-1].3 + 35 * 86400, arrayPushBack(counted, one), counted),
        arraySort(places), arrayResize(places, 0)),
    place))
COMMENT 'Credits, revenue and adjustments: one row per counted entry';

-- What the column says of an event that gave its cost.
ALTER TABLE usage_events COMMENT COLUMN price_id 'The price that was used, one of the price book or of prices.id; reported when the event gave its cost; empty for a call without a cost and a price';

ALTER TABLE usage COMMENT COLUMN price_id 'The price that was used, one of the price book or of prices.id; reported when the event gave its cost; empty for a call without a cost and a price';
