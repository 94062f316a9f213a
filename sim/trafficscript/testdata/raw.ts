# generic request: reading
import test;
test.eq(request.get(), "LOGIN a"); test.eq(request.getLength(), 7); test.eq(request.get(5), "LOGIN"); test.eq(request.get(9), "LOGIN ada");
$line = request.getLine(); test.eq($line . $1, "LOGIN ada\n10"); $line = request.getLine("[A-Z]\n|x\n", $1); test.eq($line . $1, "PASS x\n17"); test.eq(request.getLine("\n", $1) . $1, "QUIT21"); test.eq(request.getLine("\n", 100) . $1, "100"); test.eq(request.get(1000), "LOGIN ada\nPASS x\nQUIT");
test.eq(connection.getline(0) . $1, "LOGIN ada10"); ### warning: deprecated
test.eq(connection.getdata(5), "LOGIN"); ### warning: deprecated
test.eq(connection.getDataLen(), 21); ### warning: deprecated
---
# generic request: its end
import test;
test.eq(request.endsWith("\n"), "LOGIN ada\n"); test.eq(request.get(), "LOGIN ada\n"); test.eq(request.get(100), "LOGIN ada\n"); request.set("USER ada\r\n"); test.eq(request.getLength(), 10); test.eq(request.endsAt(12), "USER ada\r\nPA"); request.skip(5); test.eq(request.get(), "ada\r\nPA"); request.skip(100); test.eq(request.get(), "");
request.endsAt(0); ### run: at least 1 byte
---
# generic request: replaced
import test;
request.skip(6); test.eq(request.get(3), "ada");
connection.setData("x"); ### warning: deprecated
test.eq(request.get() . request.getLength(), "x1"); test.eq(response.get(), "");
---
# generic response
import test;
test.eq(response.getLength(), 3); test.eq(response.getLine(), "+OK hello\n"); test.eq(response.get(3), "+OK"); test.eq(response.get(), "+OK hello\n+OK bye\n"); response.flush(10); test.eq(response.get(), "+OK bye\n"); response.set("+ERR\n"); response.append("more\n"); test.eq(response.get(), "+ERR\nmore\n"); response.flush(); test.eq(response.getLength(), 0); response.close(); test.eq(response.get(5), "");
---
# raw functions read HTTP messages, and change nothing
import test;
test.eq(request.getLine("\r\n") . $1, "GET /a%20b/c?x=1&y=%41&x=2 HTTP/1.1\r\n37"); lang.assert(string.endsWith(request.get(100000), "\r\n\r\nline one\r\nline two\n"), "head and body");
request.set("x"); ### run: request.set is for generic protocols: use the http functions
request.skip(1); ### run: request.skip is for generic protocols
request.endsAt(1); ### run: request.endsAt is for generic protocols
request.endsWith("x"); ### run: request.endsWith is for generic protocols
---
# response: raw functions
import test;
lang.assert(string.startsWith(response.get(12), "HTTP/1.1 404"), "head"); lang.assert(string.endsWith(response.get(), "\r\n\r\nnot here\n"), "body");
response.append("x"); ### run: response.append is for generic protocols
---
# sockets
import test;
$s = tcp.connect("192.0.2.1", 7); test.eq($s, 1); test.eq(tcp.write($s, "ping"), 4); test.eq(tcp.read($s, 100), "ping"); test.eq(tcp.read($s, 100, 1) . $1, "timeout"); test.eq(tcp.read($s, 100) . $1, "0"); test.eq(tcp.close($s), 1); test.eq(tcp.close($s) . $1, "0there is no such socket"); test.eq(tcp.read($s, 1) . tcp.write($s, "x"), "-1");
test.eq(tcp.connect("192.0.2.1", 9, 5) . $1, "0timeout"); test.eq(tcp.connect("192.0.2.1", 8) . $1, "0connection refused"); test.eq(tcp.connect("host", 8) . $1, "0that is no address and port"); test.eq(tcp.connect("192.0.2.1", 70000), 0);
test.eq(udp.sendTo("192.0.2.1", 7, "ping"), 4); test.eq(udp.sendTo("192.0.2.1", 8, "ping") . $1, "-1connection refused");
---
# response: streamed
import test;
http.stream.startResponse(200, "text/plain", 100, "X-A: 1\r\nContent-Length: 5"); test.eq(http.stream.readResponse(100, "\n"), "yes and no\n"); test.eq(http.stream.readResponse(3), "yes"); test.eq(http.stream.readBulkResponse(2, "---\n"), "\n---\n"); http.stream.writeResponse("piece"); test.eq(http.stream.readBulkResponse(100, "s"), "las"); test.eq(http.stream.readBulkResponse(100, "s"), "t"); test.eq(http.stream.readBulkResponse(100), "");
http.redirect("/"); ### run: no other one can be sent
http.stream.startResponse(200, "text/plain"); ### run: begun already
http.stream.finishResponse(" end"); log.error("not reached");
---
# response: streaming goes on from the node
http.stream.writeResponse("x"); ### run: call http.stream.startResponse first
http.stream.continueFromBackend("x"); ### run: call http.stream.startResponse first
http.stream.startResponse("404 Nothing", "text/html"); http.stream.readResponse(3); http.stream.continueFromBackend("first"); log.error("not reached");
---
# cache, compression, Aptimizer
import test;
test.eq(http.cache.exists() . http.cache.exists("web") . http.cache.exists("api"), "110"); http.cache.setkey("k"); http.cache.disable(); test.eq(http.cache.exists(), 0); http.cache.enable(); test.eq(http.compress.enable(), 0); http.compress.disable(); http.aptimizer.bypass();
http.aptimizer.use("a", "b"); ### run: does not have Aptimizer enabled
http.cache.respondIfCached("api"); http.cache.respondIfCached(); log.error("not reached");
---
# Kerberos without a realm
import test;
test.eq(http.kerberos.isEnabled(), 0); http.kerberos.setEnabled(1); test.eq(http.kerberos.isEnabled(), 1); http.kerberos.setPrincipal("p"); http.kerberos.setClientPrincipalName("c"); http.kerberos.setTargetPrincipalName("t"); test.eq(http.kerberos.getPrincipal() . http.kerberos.getClientPrincipalName() . http.kerberos.getTargetPrincipalName(), "pct");
test.eq(http.kerberos.getDelegatedTicket(), ""); ### run: no ticket can be had
---
# bandwidth, DSCP, limits and close alerts
import test;
test.eq(request.setBandwidthClass("none") . request.setBandwidthClass("gold") . request.getBandwidthClass(), "01gold"); test.eq(request.setBandwidthClass("") . request.getBandwidthClass() . response.setBandwidthClass("gold") . response.getBandwidthClass(), "11gold");
test.eq(connection.getBandwidthClass(), "gold"); ### warning: deprecated
test.eq(connection.setBandwidthClass("none"), 0); ### warning: deprecated
test.eq(request.getDSCP() . request.setDSCP(64) . request.setDSCP(0x2c) . request.getDSCP(), "00144"); test.eq(response.setDSCP(46) . response.getDSCP(), "146");
request.setToS("LOWDELAY"); ### warning: deprecated
test.eq(request.getToS(), "LOWDELAY"); ### warning: deprecated
test.eq(response.getToS(), "NONE"); ### warning: deprecated
response.setToS("RELIABILITY"); ### warning: deprecated
test.eq(response.getDSCP(), 1);
test.eq(connection.checkLimits() . connection.checkLimits("api"), "10"); lang.assert(connection.getMemoryUsage() > 100, "memory");
test.eq(connection.checkLimits("none"), -1); ### run: pool 'none' does not exist
test.eq(ssl.getClientCloseAlert() . ssl.getServerCloseAlert() . ssl.clientSupportsSecureRenegotiation(), "-1-10"); ssl.setClientCloseAlert(1); ssl.setServerCloseAlert(1); ssl.setTLSServerName("inner"); test.eq(ssl.getClientCloseAlert(), -1);
---
# a certificate cannot be asked of a plain connection
ssl.requestCert(); log.error("not reached");
---
# nor required
ssl.requireCert(); log.error("not reached");
