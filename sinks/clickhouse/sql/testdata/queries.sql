-- service = "o'brien" | limit 5
SELECT CAST(formatDateTime(v0, '%Y-%m-%dT%H:%i:%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(v0) % 1000), 3, '0') || 'Z' AS Nullable(String)) AS c0,
    CAST(formatDateTime(v1, '%Y-%m-%dT%H:%i:%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(v1) % 1000), 3, '0') || 'Z' AS Nullable(String)) AS c1,
    CAST(replaceRegexpOne(IPv6NumToString(v3), '^::ffff:([0-9.]+)$', '\\1') AS Nullable(String)) AS c2,
    CAST(replaceRegexpOne(IPv6NumToString(v4), '^::ffff:([0-9.]+)$', '\\1') AS Nullable(String)) AS c3,
    CAST(v6 AS Nullable(String)) AS c4,
    CAST(v7 AS Nullable(String)) AS c5,
    CAST(v10 AS Nullable(String)) AS c6,
    CAST(v14 AS Nullable(String)) AS c7,
    CAST(v17 AS Nullable(String)) AS c8,
    CAST(v18 AS Nullable(String)) AS c9,
    CAST(v20 AS Nullable(String)) AS c10,
    CAST(v21 AS Nullable(String)) AS c11,
    CAST(v24 AS Nullable(String)) AS c12,
    CAST(v90 AS Nullable(String)) AS c13,
    CAST(v98 AS Nullable(String)) AS c14,
    CAST(v99 AS Nullable(String)) AS c15,
    CAST(v100 AS Nullable(String)) AS c16,
    CAST(v101 AS Nullable(String)) AS c17,
    CAST(v107 AS Nullable(String)) AS c18,
    CAST(lower(leftPad(hex(v119), 16, '0')) AS Nullable(String)) AS c19
FROM (SELECT newest.1 AS v24,
    newest.2 AS v0,
    newest.3 AS v1,
    newest.4 AS v3,
    newest.5 AS v4,
    newest.6 AS v6,
    newest.7 AS v7,
    if(isNull(s10), NULL, toNullable(toUInt64(least(assumeNotNull(s10), toUInt128(18446744073709551615))))) AS v10,
    if(isNull(s14), NULL, toNullable(toUInt64(least(assumeNotNull(s14), toUInt128(18446744073709551615))))) AS v14,
    newest.8 AS v17,
    newest.9 AS v18,
    newest.10 AS v20,
    newest.11 AS v21,
    newest.12 AS v90,
    newest.13 AS v98,
    newest.14 AS v99,
    newest.15 AS v100,
    newest.16 AS v101,
    newest.17 AS v107,
    newest.18 AS v119
  FROM (
    SELECT sum(if(t0 = t1, toUInt128(`bytes_delta`), toUInt128(multiIf(isNull(`bytes_delta`), NULL, 1750000600000 <= t0, toUInt128(0), 1750000600000 >= t1, toUInt128(assumeNotNull(`bytes_delta`)), intDiv(toUInt128(assumeNotNull(`bytes_delta`)) * toUInt128(1750000600000 - t0), toUInt128(greatest(t1 - t0, 1)))) - multiIf(isNull(`bytes_delta`), NULL, 1750000000000 <= t0, toUInt128(0), 1750000000000 >= t1, toUInt128(assumeNotNull(`bytes_delta`)), intDiv(toUInt128(assumeNotNull(`bytes_delta`)) * toUInt128(1750000000000 - t0), toUInt128(greatest(t1 - t0, 1))))))) AS s10,
      sum(if(t0 = t1, toUInt128(`reverse_bytes_delta`), toUInt128(multiIf(isNull(`reverse_bytes_delta`), NULL, 1750000600000 <= t0, toUInt128(0), 1750000600000 >= t1, toUInt128(assumeNotNull(`reverse_bytes_delta`)), intDiv(toUInt128(assumeNotNull(`reverse_bytes_delta`)) * toUInt128(1750000600000 - t0), toUInt128(greatest(t1 - t0, 1)))) - multiIf(isNull(`reverse_bytes_delta`), NULL, 1750000000000 <= t0, toUInt128(0), 1750000000000 >= t1, toUInt128(assumeNotNull(`reverse_bytes_delta`)), intDiv(toUInt128(assumeNotNull(`reverse_bytes_delta`)) * toUInt128(1750000000000 - t0), toUInt128(greatest(t1 - t0, 1))))))) AS s14,
      argMax(tuple(`service`, `start`, `end`, `src_ip`, `dst_ip`, `dst_port`, `proto`, `src_pod`, `src_ns`, `dst_pod`, `dst_ns`, `outcome`, `src_workload`, `dst_workload`, `src_name`, `dst_name`, `rtt`, `conn_id`, 0), (`end`, ifNull(`final`, false), ifNull(seq, 0), ifNull(records, 0), pos)) AS newest,
      max(ifNull(if(isNotNull(start), toUnixTimestamp64Milli(start) >= 1750000000000 AND toUnixTimestamp64Milli(start) < 1750000600000, `first` AND t0 >= 1750000000000 AND t0 < 1750000600000), false)) AS opened
    FROM (
      SELECT *, toUnixTimestamp64Milli(`end`) AS t1, least(ifNull(toUnixTimestamp64Milli(since), t1), t1) AS t0,
        if(isNull(conn_id), toString((spool, pos)), '') AS lone
      FROM `weir`.`weir_flows`
      WHERE `end` >= fromUnixTimestamp64Milli(toInt64(1750000000000), 'UTC') AND (since < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC') OR `end` < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC'))
    )
    WHERE if(t0 = t1, t1 >= 1750000000000 AND t1 < 1750000600000, t0 < 1750000600000 AND t1 > 1750000000000)
    GROUP BY conn_id, lone
  ))
WHERE ifNull((if(position(if(position(v24, '/') > 0, substring(v24, position(v24, '/') + 1), v24), ':') > 0, substring(if(position(v24, '/') > 0, substring(v24, position(v24, '/') + 1), v24), 1, position(if(position(v24, '/') > 0, substring(v24, position(v24, '/') + 1), v24), ':') - 1), if(position(v24, '/') > 0, substring(v24, position(v24, '/') + 1), v24)) = 'o\'brien'), false)
ORDER BY v1 DESC, ifNull(v119, 0) ASC
LIMIT 5;

-- dst.workload = payments | stats conns, p95(rtt), sum(bytes) by outcome every 1m
SELECT toInt64(step * 60000),
    CAST(v90 AS Nullable(String)) AS k0,
    countIf(ifNull(v121, false)),
    countIf(isNotNull(v107)),
    countIf(isNull(v107)),
    countIf(ifNull(v107 = 0, false)),
    tupleElement(sumMapIf([toInt32(ceil(log(abs(toFloat64(ifNull(v107, 0))) + (toFloat64(ifNull(v107, 0)) = 0)) / log(1.0202020202020201)))], [toUInt64(1)], toFloat64(ifNull(v107, 0)) > 0), 1),
    tupleElement(sumMapIf([toInt32(ceil(log(abs(toFloat64(ifNull(v107, 0))) + (toFloat64(ifNull(v107, 0)) = 0)) / log(1.0202020202020201)))], [toUInt64(1)], toFloat64(ifNull(v107, 0)) > 0), 2),
    tupleElement(sumMapIf([toInt32(ceil(log(abs((-toFloat64(ifNull(v107, 0)))) + ((-toFloat64(ifNull(v107, 0))) = 0)) / log(1.0202020202020201)))], [toUInt64(1)], (-toFloat64(ifNull(v107, 0))) > 0), 1),
    tupleElement(sumMapIf([toInt32(ceil(log(abs((-toFloat64(ifNull(v107, 0)))) + ((-toFloat64(ifNull(v107, 0))) = 0)) / log(1.0202020202020201)))], [toUInt64(1)], (-toFloat64(ifNull(v107, 0))) > 0), 2),
    countIf(isNotNull(v10)),
    countIf(isNull(v10)),
    CAST(sum(toInt256(v10)) AS Nullable(String))
FROM (SELECT step,
    newest.1 AS v99,
    newest.2 AS v90,
    if(opened OR isNotNull(newest.3) OR isNotNull(toUnixTimestamp64Milli(newest.5)), CAST(opened AND ifNull(toUnixTimestamp64Milli(newest.5) >= greatest(step * 60000, 1750000000000) AND toUnixTimestamp64Milli(newest.5) < least((step + 1) * 60000, 1750000600000), true) AS Nullable(Bool)), NULL) AS v121,
    newest.4 AS v107,
    if(isNull(s10), NULL, toNullable(toUInt64(least(assumeNotNull(s10), toUInt128(18446744073709551615))))) AS v10,
    newest.5 AS v0
  FROM (
    SELECT step,
    sum(if(t0 = t1, toUInt128(`bytes_delta`), toUInt128(multiIf(isNull(`bytes_delta`), NULL, least((step + 1) * 60000, 1750000600000) <= t0, toUInt128(0), least((step + 1) * 60000, 1750000600000) >= t1, toUInt128(assumeNotNull(`bytes_delta`)), intDiv(toUInt128(assumeNotNull(`bytes_delta`)) * toUInt128(least((step + 1) * 60000, 1750000600000) - t0), toUInt128(greatest(t1 - t0, 1)))) - multiIf(isNull(`bytes_delta`), NULL, greatest(step * 60000, 1750000000000) <= t0, toUInt128(0), greatest(step * 60000, 1750000000000) >= t1, toUInt128(assumeNotNull(`bytes_delta`)), intDiv(toUInt128(assumeNotNull(`bytes_delta`)) * toUInt128(greatest(step * 60000, 1750000000000) - t0), toUInt128(greatest(t1 - t0, 1))))))) AS s10,
      argMax(tuple(`dst_workload`, `outcome`, `first`, `rtt`, `start`, 0), (`end`, ifNull(`final`, false), ifNull(seq, 0), ifNull(records, 0), pos)) AS newest,
      max(ifNull(if(isNotNull(start), toUnixTimestamp64Milli(start) >= greatest(step * 60000, 1750000000000) AND toUnixTimestamp64Milli(start) < least((step + 1) * 60000, 1750000600000), `first` AND t0 >= greatest(step * 60000, 1750000000000) AND t0 < least((step + 1) * 60000, 1750000600000)), false)) AS opened
    FROM (
      SELECT *, toUnixTimestamp64Milli(`end`) AS t1, least(ifNull(toUnixTimestamp64Milli(since), t1), t1) AS t0,
        if(isNull(conn_id), toString((spool, pos)), '') AS lone
      FROM `weir`.`weir_flows`
      WHERE `end` >= fromUnixTimestamp64Milli(toInt64(1750000000000), 'UTC') AND (since < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC') OR `end` < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC'))
    )
    ARRAY JOIN range(toUInt64(intDiv(greatest(t0, 1750000000000), 60000)), toUInt64(intDiv(least(t1, 1750000599999), 60000)) + 1) AS step
    WHERE if(t0 = t1, t1 >= greatest(step * 60000, 1750000000000) AND t1 < least((step + 1) * 60000, 1750000600000), t0 < least((step + 1) * 60000, 1750000600000) AND t1 > greatest(step * 60000, 1750000000000))
    GROUP BY conn_id, lone, step
  ))
WHERE ifNull((if(position(v99, '/') > 0, substring(v99, position(v99, '/') + 1) = 'payments', v99 = 'payments')), false)
GROUP BY step, k0
LIMIT 1001;

-- dst.scope = external not dst.ip in (100.64.0.0/10, fd00::/8) | stats uniq(src.pod) by src.label.app
SELECT if(JSONType(ifNull(v65, ''), 'app') = 'String', toNullable(JSONExtractString(ifNull(v65, ''), 'app')), NULL) AS k0,
    countIf(isNotNull(CAST(v17 AS Nullable(String)))),
    countIf(isNull(CAST(v17 AS Nullable(String)))),
    groupUniqArrayIf(1025)(xxHash64(ifNull(CAST(v17 AS Nullable(String)), '')), isNotNull(CAST(v17 AS Nullable(String)))),
    tupleElement(maxMapIf([bitShiftRight(xxHash64(ifNull(CAST(v17 AS Nullable(String)), '')), 52)], [toUInt64(65 - length(replaceRegexpOne(bin(bitOr(bitShiftLeft(xxHash64(ifNull(CAST(v17 AS Nullable(String)), '')), 12), toUInt64(2048))), '^0+', '')))], isNotNull(CAST(v17 AS Nullable(String)))), 1),
    tupleElement(maxMapIf([bitShiftRight(xxHash64(ifNull(CAST(v17 AS Nullable(String)), '')), 52)], [toUInt64(65 - length(replaceRegexpOne(bin(bitOr(bitShiftLeft(xxHash64(ifNull(CAST(v17 AS Nullable(String)), '')), 12), toUInt64(2048))), '^0+', '')))], isNotNull(CAST(v17 AS Nullable(String)))), 2)
FROM (SELECT newest.1 AS v95,
    newest.2 AS v4,
    newest.3 AS v65,
    newest.4 AS v17
  FROM (
    SELECT argMax(tuple(`dst_kind`, `dst_ip`, `src_labels`, `src_pod`, 0), (`end`, ifNull(`final`, false), ifNull(seq, 0), ifNull(records, 0), pos)) AS newest,
      max(ifNull(if(isNotNull(start), toUnixTimestamp64Milli(start) >= 1750000000000 AND toUnixTimestamp64Milli(start) < 1750000600000, `first` AND t0 >= 1750000000000 AND t0 < 1750000600000), false)) AS opened
    FROM (
      SELECT *, toUnixTimestamp64Milli(`end`) AS t1, least(ifNull(toUnixTimestamp64Milli(since), t1), t1) AS t0,
        if(isNull(conn_id), toString((spool, pos)), '') AS lone
      FROM `weir`.`weir_flows`
      WHERE `end` >= fromUnixTimestamp64Milli(toInt64(1750000000000), 'UTC') AND (since < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC') OR `end` < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC'))
    )
    WHERE if(t0 = t1, t1 >= 1750000000000 AND t1 < 1750000600000, t0 < 1750000600000 AND t1 > 1750000000000)
    GROUP BY conn_id, lone
  ))
WHERE (ifNull((CAST(v95 AS Nullable(Int16)) = 5), false) AND NOT ifNull((v4 BETWEEN toIPv6('::ffff:100.64.0.0') AND toIPv6('::ffff:100.127.255.255') OR v4 BETWEEN toIPv6('fd00::') AND toIPv6('fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')), false))
GROUP BY k0
LIMIT 1001;

-- verdict = denied policy =~ "pci-.*" | fields start, evidence, bytes | sort bytes desc | limit 3
SELECT CAST(formatDateTime(v0, '%Y-%m-%dT%H:%i:%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(v0) % 1000), 3, '0') || 'Z' AS Nullable(String)) AS c0,
    CAST(formatDateTime(v1, '%Y-%m-%dT%H:%i:%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(v1) % 1000), 3, '0') || 'Z' AS Nullable(String)) AS c1,
    CAST(v10 AS Nullable(String)) AS c2,
    if(isNull(v91), NULL, toNullable(arrayStringConcat(arrayFilter(x -> x != '', [if(bitTest(ifNull(v91, 0), 0), 'conntrack', ''), if(bitTest(ifNull(v91, 0), 1), 'socket', ''), if(bitTest(ifNull(v91, 0), 2), 'nflog', ''), if(bitTest(ifNull(v91, 0), 3), 'datapath', ''), if(bitTest(ifNull(v91, 0), 4), 'both_ends', ''), if(bitTest(ifNull(v91, 0), 5), 'packet', ''), if(bitTest(ifNull(v91, 0), 6), 'bit6', ''), if(bitTest(ifNull(v91, 0), 7), 'bit7', '')]), '|'))) AS c3,
    CAST(lower(leftPad(hex(v119), 16, '0')) AS Nullable(String)) AS c4
FROM (SELECT newest.1 AS v90,
    newest.2 AS v29,
    newest.3 AS v34,
    newest.4 AS v25,
    newest.5 AS v30,
    newest.6 AS v0,
    newest.7 AS v1,
    if(isNull(s10), NULL, toNullable(toUInt64(least(assumeNotNull(s10), toUInt128(18446744073709551615))))) AS v10,
    newest.8 AS v91,
    newest.9 AS v119
  FROM (
    SELECT sum(if(t0 = t1, toUInt128(`bytes_delta`), toUInt128(multiIf(isNull(`bytes_delta`), NULL, 1750000600000 <= t0, toUInt128(0), 1750000600000 >= t1, toUInt128(assumeNotNull(`bytes_delta`)), intDiv(toUInt128(assumeNotNull(`bytes_delta`)) * toUInt128(1750000600000 - t0), toUInt128(greatest(t1 - t0, 1)))) - multiIf(isNull(`bytes_delta`), NULL, 1750000000000 <= t0, toUInt128(0), 1750000000000 >= t1, toUInt128(assumeNotNull(`bytes_delta`)), intDiv(toUInt128(assumeNotNull(`bytes_delta`)) * toUInt128(1750000000000 - t0), toUInt128(greatest(t1 - t0, 1))))))) AS s10,
      argMax(tuple(`outcome`, `ingress_action`, `egress_action`, `ingress_policy`, `egress_policy`, `start`, `end`, `evidence`, `conn_id`, 0), (`end`, ifNull(`final`, false), ifNull(seq, 0), ifNull(records, 0), pos)) AS newest,
      max(ifNull(if(isNotNull(start), toUnixTimestamp64Milli(start) >= 1750000000000 AND toUnixTimestamp64Milli(start) < 1750000600000, `first` AND t0 >= 1750000000000 AND t0 < 1750000600000), false)) AS opened
    FROM (
      SELECT *, toUnixTimestamp64Milli(`end`) AS t1, least(ifNull(toUnixTimestamp64Milli(since), t1), t1) AS t0,
        if(isNull(conn_id), toString((spool, pos)), '') AS lone
      FROM `weir`.`weir_flows`
      WHERE `end` >= fromUnixTimestamp64Milli(toInt64(1750000000000), 'UTC') AND (since < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC') OR `end` < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC'))
    )
    WHERE if(t0 = t1, t1 >= 1750000000000 AND t1 < 1750000600000, t0 < 1750000600000 AND t1 > 1750000000000)
    GROUP BY conn_id, lone
  ))
WHERE (((ifNull((CAST(v90 AS Nullable(Int16)) = 6), false) OR ifNull((CAST(v29 AS Nullable(Int16)) = 2 OR CAST(v29 AS Nullable(Int16)) = 3), false) OR ifNull((CAST(v34 AS Nullable(Int16)) = 2 OR CAST(v34 AS Nullable(Int16)) = 3), false))) AND (ifNull((match(v25, '(?-s)^(?:pci-.*)$')), false) OR ifNull((match(v30, '(?-s)^(?:pci-.*)$')), false)))
ORDER BY v10 DESC NULLS LAST, v1 DESC, ifNull(v119, 0) ASC
LIMIT 3;

-- has conn_id | fields src.pod, dst.pod, dst.port, scope | limit 3
SELECT CAST(formatDateTime(v1, '%Y-%m-%dT%H:%i:%S') || '.' || leftPad(toString(toUnixTimestamp64Milli(v1) % 1000), 3, '0') || 'Z' AS Nullable(String)) AS c0,
    CAST(v6 AS Nullable(String)) AS c1,
    CAST(v17 AS Nullable(String)) AS c2,
    CAST(v20 AS Nullable(String)) AS c3,
    CAST(v93 AS Nullable(String)) AS c4,
    CAST(lower(leftPad(hex(v119), 16, '0')) AS Nullable(String)) AS c5
FROM (SELECT ifNull(newest.2 IN ('o\'brien', 'shop'), false) AS mine_src,
    ifNull(newest.3 IN ('o\'brien', 'shop'), false) AS mine_dst,
    if(false, newest.1, NULL) AS v119,
    newest.2 AS v18,
    newest.3 AS v21,
    newest.4 AS v23,
    newest.5 AS v1,
    if(NOT mine_dst AND isNotNull(newest.4), newest.4, newest.6) AS v6,
    if(mine_src, newest.7, NULL) AS v17,
    if(mine_dst, newest.8, NULL) AS v20,
    if((mine_src AND mine_dst), newest.9, NULL) AS v93
  FROM (
    SELECT argMax(tuple(`conn_id`, `src_ns`, `dst_ns`, `service_port`, `end`, `dst_port`, `src_pod`, `dst_pod`, `scope`, 0), (`end`, ifNull(`final`, false), ifNull(seq, 0), ifNull(records, 0), pos)) AS newest,
      max(ifNull(if(isNotNull(start), toUnixTimestamp64Milli(start) >= 1750000000000 AND toUnixTimestamp64Milli(start) < 1750000600000, `first` AND t0 >= 1750000000000 AND t0 < 1750000600000), false)) AS opened
    FROM (
      SELECT *, toUnixTimestamp64Milli(`end`) AS t1, least(ifNull(toUnixTimestamp64Milli(since), t1), t1) AS t0,
        if(isNull(conn_id), toString((spool, pos)), '') AS lone
      FROM `weir`.`weir_flows`
      WHERE `end` >= fromUnixTimestamp64Milli(toInt64(1750000000000), 'UTC') AND (since < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC') OR `end` < fromUnixTimestamp64Milli(toInt64(1750000600000), 'UTC'))
        AND (ifNull(`src_ns` IN ('o\'brien', 'shop'), false) OR ifNull(`dst_ns` IN ('o\'brien', 'shop'), false))
    )
    WHERE if(t0 = t1, t1 >= 1750000000000 AND t1 < 1750000600000, t0 < 1750000600000 AND t1 > 1750000000000)
    GROUP BY conn_id, lone
  ))
WHERE isNotNull(v119)
ORDER BY v1 DESC, ifNull(v119, 0) ASC, tuple(c0, c1, c2, c3, c4, c5)
LIMIT 3;

