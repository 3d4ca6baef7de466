-- funnel_daily: from impression to first deposit, by the campaign of the event itself.

CREATE VIEW funnel_daily
(
    day Date COMMENT 'UTC day of the events',
    tenant LowCardinality(String) COMMENT 'workspace',
    campaign LowCardinality(String) COMMENT 'campaign of the event; empty where it has none',
    impressions UInt64 COMMENT 'events named impression',
    clicks UInt64 COMMENT 'events named click',
    conversions UInt64 COMMENT 'events named conversion',
    registrations UInt64 COMMENT 'events named register, registration or signup',
    first_deposits UInt64 COMMENT 'players whose earliest event named deposit is on the day and carries the campaign'
)
AS SELECT
    day, tenant, campaign, sum(a_impressions) AS impressions, sum(a_clicks) AS clicks, sum(a_conversions) AS conversions,
    sum(a_registrations) AS registrations, sum(a_first_deposits) AS first_deposits
FROM
(
    SELECT
        toDate(event_time) AS day, tenant, ifNull(event.campaign, '') AS campaign,
        countIf(event_name = 'impression') AS a_impressions, countIf(event_name = 'click') AS a_clicks,
        countIf(event_name = 'conversion') AS a_conversions,
        countIf(event_name IN ('register', 'registration', 'signup')) AS a_registrations, 0 AS a_first_deposits
    FROM events AS event
    WHERE event_name IN ('impression', 'click', 'conversion', 'register', 'registration', 'signup')
    GROUP BY day, tenant, campaign
    UNION ALL
    SELECT toDate(first.1) AS day, tenant, first.2 AS campaign, 0, 0, 0, 0, count()
    FROM
    (
        SELECT tenant, player_id, argMin((event_time, ifNull(campaign, '')), (event_time, toString(event_id))) AS first
        FROM events
        WHERE event_name = 'deposit' AND player_id IS NOT NULL
        GROUP BY tenant, player_id
    )
    GROUP BY day, tenant, campaign
)
GROUP BY day, tenant, campaign
COMMENT 'A row is a day, tenant and campaign';
