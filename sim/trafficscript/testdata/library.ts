# arrays
import test;
$a = [3, 1, 2];
test.eq(array.length($a), 3); test.eq(array.join($a), "3 1 2"); test.eq(array.join($a, ","), "3,1,2"); test.eq(array.contains($a, 2), 1); test.eq(array.contains($a, 9), 0);
array.push($a, 4); test.eq(array.pop($a), 4); test.eq(array.shift($a), 3); array.unshift($a, 0); test.eq($a, [0, 1, 2]); test.eq(array.pop([]), "");
test.eq(array.append([1], [2, 3]), [1, 2, 3]); $x = [1]; array.append($x, $x); test.eq($x, [1, 1]);
test.eq(array.reverse([1, 2, 3]), [3, 2, 1]); test.eq(array.sort([10, 9, 1, 2]), lang.toArray(1, 10, 2, 9)); test.eq(array.sort(["b", "a"], true), ["b", "a"]); test.eq(array.sortNumerical([10, 9, "1.5", 2]), [1.5 . "", 2, 9, 10]); test.eq(array.sortNumerical([1, 2], 1), [2, 1]);
test.eq(array.create(2), ["", ""]); test.eq(array.create(2, "x"), ["x", "x"]); test.eq(array.create(-1), []);
test.eq(array.resize([1, 2, 3], 2), [1, 2]); test.eq(array.resize([1], 3, 0), [1, 0, 0]);
$s = [1, 2, 3, 4]; test.eq(array.splice($s, 1, 2, "a", "b", "c"), [2, 3]); test.eq($s, [1, "a", "b", "c", 4]); test.eq(array.splice($s, 9, 9), []);
test.eq(array.filter(["ab", "cd", "ae"], "^A", "i"), ["ab", "ae"]); test.eq(array.filter(["ab", "cd"], "a", "!"), ["cd"]);
$c = array.copy($s); array.pop($c); test.eq(array.length($s) - array.length($c), 1);
---
# hashes
import test;
$h = ["b" => 2, "a" => 1];
test.eq(hash.count($h), 2); test.eq(hash.contains($h, "a"), 1); test.eq(hash.contains($h, "z"), 0); test.eq(hash.keys($h), ["a", "b"]); test.eq(hash.values($h), [1, 2]);
hash.delete($h, "a"); test.eq($h, ["b" => 2]); hash.empty($h); test.eq(hash.count($h), 0); $h[0] = "now an array"; test.eq(lang.isArray($h), 1);
---
# lang and math
import test;
test.eq(lang.toArray(["k" => "v"]), ["k", "v"]); test.eq(lang.toArray([1]), [1]); test.eq(lang.toHash(["k", "v", "l"]), ["k" => "v", "l" => ""]); test.eq(lang.toHash("k", 1), ["k" => 1]); test.eq(lang.toHash(["k" => 1]), ["k" => 1]);
test.eq(lang.isArray([]) . lang.isHash([]) . lang.isArray(["k" => 1]) . lang.isHash(["k" => 1]) . lang.isArray("") . lang.isHash([1]), "110100");
test.eq(lang.dump("s"), '"s"'); test.eq(lang.chr(65) . chr(66), "AB"); test.eq(lang.ord("A") . ord("B") . ord(""), "65660");
test.eq(lang.tochar(65), "A"); ### warning: deprecated: use lang.chr
test.eq(math.ceil(1.2) . math.floor(1.8) . math.rint(2.5) . math.fabs(-3), "2123"); test.eq(math.pow(2, 10), 1024); test.eq(math.sqrt(9), 3); test.eq(math.exp(0), 1); test.eq(math.ln(math.exp(2)), 2); test.eq(math.log(1000), 3);
test.eq(math.sin(0) . math.cos(0) . math.tan(0) . math.asin(0) . math.acos(1) . math.atan(0), "010000");
lang.assert(math.random(10) >= 0 && math.random(10) < 10, "in range"); test.eq(math.random(0), 0);
---
# time: the host's is 2026-11-23 14:05:09.25 UTC, a Monday
import test;
test.eq(sys.time(), 1795442709); test.eq(string.sprintf("%.2f", sys.time.highres()), "1795442709.25");
test.eq(sys.time.year() . "-" . sys.time.month() . "-" . sys.time.monthday(), "2026-11-23"); test.eq(sys.time.hour() . ":" . sys.time.minutes() . ":" . sys.time.seconds(), "14:5:9"); test.eq(sys.time.weekday(), 2); test.eq(sys.time.yearday(), 327); test.eq(sys.time.year(0), 1970); test.eq(sys.time.weekday(3 * 86400), 1);
test.eq(sys.gmtime.format("%a, %d %b %Y %T GMT"), "Mon, 23 Nov 2026 14:05:09 GMT"); test.eq(sys.gmtime.format("%Y-%m-%d %H:%M:%S %j %y %e %p %I %Z %% %Q", 0), "1970-01-01 00:00:00 001 70  1 AM 12 GMT % %Q"); test.eq(sys.localtime.format("%F %A %B %h %c %C %D %n%r %R %s %t%u %w %z", 0), "1970-01-01 Thursday January Jan Thu Jan  1 00:00:00 1970 19 01/01/70 \n12:00:00 AM 00:00 0 \t4 4 +0000");
test.eq(sys.timeToString(0), "[01/Jan/1970:00:00:00 +0000]"); test.eq(string.gmtime.parse("Thu, 01 Jan 1970 00:01:00 GMT"), 60); test.eq(string.gmtime.parse("1970-01-02"), 86400); test.eq(string.gmtime.parse("x"), 0); test.eq(sys.time.year(9223372036854775807) > 30000, 1);
---
# stores keep strings, arrays and hashes
import test;
test.eq(data.get("none"), ""); test.eq(data.set("k1", 1.5), 1); data.set("k2", ["a" => [1, ["x"]], "b" => ""]); data.set("j", "");
test.eq(data.get("k1"), 1.5); test.eq(data.get("k2"), ["a" => ["1", ["x"]], "b" => ""]); lang.assert(data.getMemoryUsage() > 0 && data.getMemoryFree() > 0, "memory");
test.eq(data.remove("k1") . data.remove("k1"), "10"); test.eq(data.get("k1"), ""); data.reset("k"); test.eq(data.get("k2"), ""); data.reset(); test.eq(data.getMemoryUsage(), 0);
test.eq(data.local.set("k", "v"), 1); test.eq(data.local.get("k"), "v"); test.eq(data.get("k"), ""); data.local.remove("k"); data.local.reset("x"); test.eq(data.local.getMemoryUsage(), 0); lang.assert(data.local.getMemoryFree() > 0, "free");
connection.data.set("c", "d"); test.eq(connection.data.get("c"), "d");
test.eq(data.set("big", string.randomBytes(2000000)), 0); ### run: the store has no room for the key 'big'
---
# facts about connection, request, pool and rule
import test;
test.eq(connection.getVirtualServer(), "shop"); test.eq(connection.getPool(), "web"); test.eq(connection.getNode(), ""); test.eq(rule.getname() . rule.getstate(), "rREQUEST");
test.eq(request.getRemoteIP() . ":" . request.getRemotePort(), "192.0.2.7:4711"); test.eq(request.getLocalIP() . ":" . request.getLocalPort(), "198.51.100.1:80"); test.eq(request.getDestIP() . ":" . request.getDestPort(), "198.51.100.1:80");
test.eq(connection.getRemoteIP(), "192.0.2.7"); ### warning: deprecated
test.eq(connection.getRemotePort(), 4711); ### warning: deprecated
test.eq(connection.getLocalIP(), "198.51.100.1"); ### warning: deprecated
test.eq(connection.getLocalPort(), 80); ### warning: deprecated
connection.setIdempotent(1); ### warning: deprecated
test.eq(request.getRetries() . request.isResendable() . request.getMaxTransactionDuration(), "000"); request.setMaxTransactionDuration(7); test.eq(request.getMaxTransactionDuration(), 7);
test.eq(request.setRemoteIP("x"), 0); test.eq(request.setRemoteIP("203.0.113.9"), 1); test.eq(request.getRemoteIP(), "203.0.113.9");
test.eq(pool.activeNodes("web") . pool.failedNodes("web") . pool.drainingNodes("web") . pool.disabledNodes("web"), "2111"); test.eq(pool.listActiveNodes("web"), ["10.0.0.1:80", "10.0.0.5:80"]); test.eq(pool.listFailedNodes("web"), ["10.0.0.2:80"]); test.eq(pool.listDrainingNodes("web"), ["10.0.0.3:80"]); test.eq(pool.listDisabledNodes("web"), ["10.0.0.4:80"]); test.eq(array.length(pool.listAllNodes("web")), 5); test.eq(pool.listAllNodes("api"), []);
test.eq(pool.checknode("web", "10.0.0.2", 80) . pool.checknode("web", "10.0.0.2", 81) . pool.checknode("no", "10.0.0.2", 80) . pool.checknode("web", "host", 80), "DEADNOTINPOOLNOSUCHPOOLNOSUCHHOST");
pool.activeNodes("no"); ### run: pool 'no' does not exist
request.avoidNode("x"); ### run: 'x' is no address and port
test.eq(ssl.isSSL() . ssl.getTLSServerName() . ssl.serverSiteName() . ssl.serverCertName() . ssl.sslSessionID() . ssl.clientCipher(), "0");
test.eq(connection.getPersistence(), ""); connection.setPersistence("sticky"); test.eq(connection.getPersistence(), "sticky");
log.info("a\nb");
log.warn("careful"); ### run: ^careful$
log.error("bad"); ### run: ^bad$
---
# an unknown pool leaves the default pool, and the rule ends
pool.use("nosuch"); ### run: pool 'nosuch' does not exist
lang.assert(0, "unreached");
