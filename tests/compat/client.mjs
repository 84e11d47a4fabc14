// What people do with @huggingface/hub: `client.mjs PACKAGE_FOLDER ENDPOINT TOKEN xet|lfs`.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, hubUrl, accessToken, transfer] = process.argv.slice(2);
const found = createRequire(`${folder}/package.json`).resolve("@huggingface/hub");
const hub = await import(pathToFileURL(found).href);
const repo = { type: "dataset", name: "local/from-js" };
const common = { repo, hubUrl, accessToken };
const large = Buffer.concat(Array.from({ length: 300_000 }, (_, n) => createHash("sha256").update(`${n}`).digest()));

async function read(path, revision) {
  const blob = await hub.downloadFile({ ...common, path, revision });
  return Buffer.from(await blob.arrayBuffer());
}
async function names(revision) {
  const paths = [];
  for await (const entry of hub.listFiles({ ...common, recursive: true, revision })) {
    if (entry.type === "file") paths.push(entry.path);
  }
  return paths.filter((path) => path !== ".gitattributes").sort();
}

assert.equal((await hub.whoAmI({ hubUrl, accessToken })).name, "local");
await hub.createRepo({ ...common, private: true });
const useXet = transfer === "xet";
await hub.uploadFiles({
  ...common,
  useXet,
  files: [
    { path: "a/small.txt", content: new Blob(["small"]) },
    { path: "large.bin", content: new Blob([large]) },
  ],
});
assert.deepEqual(await names(), ["a/small.txt", "large.bin"]);
assert.equal((await read("a/small.txt")).toString(), "small");
assert.ok((await read("large.bin")).equals(large));
const info = await hub.fileDownloadInfo({ ...common, path: "large.bin" });
assert.equal(info.size, large.length);

const grown = Buffer.concat([large, Buffer.from("more")]);
await hub.commit({
  ...common,
  useXet,
  title: "Several",
  operations: [
    { operation: "addOrUpdate", path: "large.bin", content: new Blob([grown]) },
    { operation: "delete", path: "a/small.txt" },
  ],
});
assert.deepEqual(await names(), ["large.bin"]);
assert.ok((await read("large.bin")).equals(grown));
const commits = [];
for await (const commit of hub.listCommits(common)) commits.push(commit);
assert.equal(commits[0].title, "Several");
const pull = await hub.uploadFile({ ...common, file: { path: "b.txt", content: new Blob(["b"]) }, isPullRequest: true });
assert.match(pull.pullRequestUrl, /discussions\/1$/);
assert.deepEqual(await names("refs/pr/1"), ["b.txt", "large.bin"]);
await hub.createBranch({ ...common, branch: "feature-x" });
assert.deepEqual(await names("feature-x"), ["large.bin"]);
await hub.deleteFiles({ ...common, paths: ["large.bin"] });
await hub.deleteRepo(common);

if (useXet) {
  const bucket = { ...common, repo: { type: "bucket", name: "local/js-bucket" } };
  const inBucket = async (path) => Buffer.from(await (await hub.downloadFile({ ...bucket, path })).arrayBuffer());
  await hub.createRepo(bucket);
  await hub.uploadFiles({
    ...bucket,
    files: [
      { path: "a/small.txt", content: new Blob(["small"]) },
      { path: "large.bin", content: new Blob([large]) },
    ],
  });
  const paths = [];
  for await (const entry of hub.listFiles({ ...bucket, recursive: true })) paths.push(entry.path);
  assert.deepEqual(paths.sort(), ["a/small.txt", "large.bin"]);
  assert.equal((await inBucket("a/small.txt")).toString(), "small");
  assert.ok((await inBucket("large.bin")).equals(large));
  await hub.deleteFile({ ...bucket, path: "large.bin" });
  assert.equal(await hub.fileExists({ ...bucket, path: "large.bin" }), false);
  await hub.deleteRepo(bucket);
}
console.log("done");
