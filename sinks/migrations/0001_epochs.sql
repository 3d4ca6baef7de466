-- Which epoch of an agent counts. An agent that is rebuilt writes its rows again under a higher epoch; they count, and
-- those of lower epochs cease to, at once, when every partition of its input is complete (design.md, Change).

CREATE TABLE agent_epochs_rows
(
    agent LowCardinality(String) COMMENT 'agent that was rebuilt',
    epoch UInt32 COMMENT 'its new epoch',
    partition UInt32 COMMENT 'partition of its input whose rows are all written',
    partitions UInt32 COMMENT 'how many partitions its input has',
    completed_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the partition was complete'
)
ENGINE = ReplacingMergeTree
ORDER BY (agent, epoch, partition)
COMMENT 'Rebuilt partitions of agents, behind the view agent_epochs';

CREATE VIEW agent_epochs
(
    agent LowCardinality(String) COMMENT 'agent that was rebuilt',
    epoch UInt32 COMMENT 'an epoch that is complete; the highest counts, 0 where there is none'
)
AS SELECT agent, epoch
FROM agent_epochs_rows
GROUP BY agent, epoch
HAVING uniqExact(partition) = max(partitions)
COMMENT 'Complete rebuilds of agents: the highest epoch of an agent is the one that its tables show';
