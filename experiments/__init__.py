"""Where the stages meet: the loop, records, statistics, reports and studies."""
