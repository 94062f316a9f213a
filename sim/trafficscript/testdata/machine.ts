# the machine
import test;
test.eq(sys.hostname() . " " . sys.domainname() . " " . sys.getpid() . " " . sys.getRestApiPort() . " " . sys.isFIPS(), "vtm1 example.com 42 9070 0"); test.eq(sys.getenv("ZEUSHOME") . sys.getenv("none"), "/opt/zeus");
$all = sys.getnetworkinterfaces(); test.eq(array.length($all), 3); $up = sys.getnetworkinterfaces(["include_lo" => 0, "up" => 1]); test.eq($up, [["Bcast" => "192.0.2.255", "IP" => "192.0.2.1", "IfName" => "eth0", "MacAddr" => "02:00:00:00:00:01", "netmask" => "255.255.255.0", "pppdest" => "", "up" => 1]]); test.eq($all[2]["netmask"] . $all[0]["netmask"], "ffff:ffff:ffff:ffff::255.0.0.0");
---
# extra files
import test;
test.eq(resource.exists("info") . resource.exists("none") . resource.exists("../info") . resource.exists(""), "1000"); test.eq(resource.get("info"), "one\r\ntwo\n"); test.eq(resource.get("none"), ""); test.eq(resource.getLines("info"), ["one", "two"]); test.eq(resource.getLines("none"), []);
test.eq(string.hexencode(resource.getMD5("info")), string.hexencode(string.hashMD5("one\r\ntwo\n"))); test.eq(resource.getMD5("none"), ""); test.eq(resource.getMTime("info") . resource.getMTime("none"), "10000");
---
# counters and events
counter.increment(1); counter64.increment(1, 5);
counter.increment(11); ### run: there is no counter 11
counter64.increment(1, 4294967296); ### run: has more than 32 bits
event.emit("my event", "told"); ### run: ^my event: told$
event.emit("a/b", "x"); ### run: 'a/b' is no name of a custom event
event.emit("", "x"); ### run: is no name of a custom event
---
# classes
import test;
test.eq(rate.use("few"), 1); test.eq(rate.use.noQueue("few", "me"), 1); test.eq(rate.use.noQueue("few"), 0); test.eq(rate.getbacklog("few", "me"), 5);
test.eq(rate.use("none"), 0); ### run: rate class 'none' does not exist
test.eq(rate.use.noQueue("none"), -1); ### run: rate class 'none' does not exist
test.eq(slm.conforming() . slm.threshold() . slm.isOK(), "10001"); test.eq(slm.conforming("gold") . slm.threshold("gold") . slm.isOK("gold"), "75501"); test.eq(connection.getServiceLevelClass(), ""); test.eq(connection.setServiceLevelClass("none") . connection.setServiceLevelClass("gold"), "01"); test.eq(connection.getServiceLevelClass() . slm.conforming(), "gold75");
slm.isOK("none"); ### run: service level monitoring class 'none' does not exist
---
# names and places
import test;
test.eq(net.dns.resolveHost("www.example.com") . net.dns.resolveHost6("www.example.com") . net.dns.resolveHost("none"), "198.51.100.802001:db8::80"); test.eq(net.dns.resolveIP("198.51.100.80") . net.dns.resolveIP("1.2.3.4") . net.dns.resolveIP("x"), "www.example.com1.2.3.4");
$ip = "192.0.2.1"; test.eq(geo.getCity($ip) . geo.getCountry($ip) . geo.getCountryCode($ip) . geo.getRegion($ip) . geo.getRegionCode($ip) . geo.getLatitude($ip) . "," . geo.getLongitude($ip), "BerlinGermanyDEBerlinBE52.52,13.405"); test.eq(geo.getCity("9.9.9.9") . geo.getCity("x") . geo.getLatitude("192.0.2.3"), "");
test.eq(math.rint(geo.getIPDistanceKM($ip, "192.0.2.2")), 877); test.eq(math.rint(geo.getIPDistanceMiles($ip, "192.0.2.2")), 545); test.eq(geo.getIPDistanceKM($ip, "192.0.2.3") . geo.getIPDistanceMiles("x", $ip), "-1-1"); test.eq(math.rint(geo.getDistanceKM("52.2338", "0.1529", "37.4062", "-121.9765")), 8585); test.eq(math.rint(geo.getDistanceMiles(0, 0, 0, 180)), 12437); test.eq(geo.getDistanceKM("", 0, 0, 0) . geo.getDistanceMiles(91, 0, 0, 0), "-1-1");
test.eq(geo.getLocation(), "Cambridge"); test.eq(geo.getLocationLonLat(), ["latitude" => 52.2, "longitude" => 0.125]);
---
# users
import test;
test.eq(auth.query("ldap", "ada", "secret"), ["Error" => "", "OK" => 1, "group" => "admin"]); test.eq(auth.query("ldap", "ada", "wrong"), ["Error" => "", "OK" => 0]); test.eq(auth.query("none", "ada"), ["Error" => "no such authenticator", "OK" => 0]);
---
# requests of a rule's own
import test;
test.eq(http.request.get("http://h/x", "X-A: 1\r\nContent-Length: 9\nX-B"), "GET http://h/x 1"); test.eq($1 . $2 . $3 . $4, "200text/plainContent-Type: text/plain\r\nX-B: 1\r\nX-B: 2\r\nHTTP/1.1 200 OK");
test.eq(http.request.post("https://h/", "data", "", 5), "POST https://h/  data"); test.eq(http.request.put("http://h/", "data"), "PUT http://h/  data"); test.eq(http.request.head("http://h/") . http.request.delete("http://h/"), "HEAD http://h/ DELETE http://h/ ");
test.eq(http.request.ssl.get("https://h/", ["PEM"]), "GET https://h/ PEM"); test.eq(http.request.ssl.get("http://h/", ["PEM"]) . $1, "0"); test.eq(http.request.get("http://broken/") . $1 . $2, "0connection refused"); test.eq(http.request.get("file:///etc/passwd") . $1, "0");
---
# records
import test;
test.eq(stats.getQueueTime() . " " . stats.getServerResponseTime() . " " . stats.getTransactionDuration(), "5 0 1250"); test.eq(requestlog.markedForInclusion() . requestlog.exclude() . requestlog.markedForInclusion() . requestlog.include(), "1001"); test.eq(recentconns.markedForInclusion() . recentconns.include() . recentconns.markedForInclusion() . recentconns.exclude(), "0110"); test.eq(connection.getCompletionReasonCode(), "");
test.eq(request.getLogEnabled(), 1); ### warning: deprecated
test.eq(request.setLogEnabled(0), 0); ### warning: deprecated
---
# completion
import test;
test.eq(connection.getCompletionReasonCode(), "NODE_LOST"); $i = connection.getCompletionReasonInfo(); test.eq($i, ["code" => "NODE_LOST", "isclienterror" => 0, "iserror" => 1, "isprocessingtimeout" => 0, "isservererror" => 1, "istimeout" => 0, "message" => "The connection's back-end node was lost."]); test.eq(rule.getstate(), "COMPLETION");
---
# encryption
import test;
$c = string.encrypt("a secret\0text", "pass"); test.eq(string.decrypt($c, "pass"), "a secret\0text"); lang.assert($c != string.encrypt("a secret\0text", "pass"), "two of the same differ"); test.eq(string.decrypt($c, "Pass") . string.decrypt("x" . $c, "pass") . string.decrypt("", "pass") . string.decrypt("AAAA", ""), ""); test.eq(string.decrypt(string.encrypt("", ""), ""), ""); lang.assert(!string.contains($c, "secret"), "hidden");
---
# certificates: none on a plain connection
import test;
test.eq(ssl.clientCertStatus() . ssl.clientCert() . ssl.clientCertChain() . ssl.clientCertSubject() . ssl.serverCert() . ssl.serverCertEndDate(), ""); test.eq(ssl.clientCertStartDate() . ssl.clientCertEndDate(), "00");
