// A client of automerge-repo that does what it reads, one JSON array a line: [command, ...arguments]. Answers each with a line.
import { createInterface } from "node:readline"
import { next as Automerge } from "@automerge/automerge"
import { Repo } from "@automerge/automerge-repo"
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket"
import { NodeFSStorageAdapter } from "@automerge/automerge-repo-storage-nodefs"
import WebSocket from "ws"

const [url, folder] = process.argv.slice(2)
const RETRY_MS = 200
const FIND_MS = 20_000
const network = [new WebSocketClientAdapter(url, RETRY_MS)]
const storage = folder ? new NodeFSStorageAdapter(folder) : undefined
const repo = new Repo({ network, storage, enableRemoteHeadsGossiping: false })
const handles = new Map()
const heard = []

// A node that is killed answers with ECONNRESET, which the adapter throws.
process.on("uncaughtException", error => {
  if (!["ECONNRESET", "ECONNREFUSED"].includes(error.code)) throw error
})

/** The object that holds the last step of a path, and that step. */
function place(document, path) {
  return [path.slice(0, -1).reduce((object, step) => object[step], document), path.at(-1)]
}

const commands = {
  async find(url) {
    const signal = AbortSignal.timeout(FIND_MS)
    const handle = await repo.find(url, { signal })
    handle.on("ephemeral-message", ({ message }) => heard.push(message))
    handles.set(url, handle)
    return handle.doc()
  },
  create(value) {
    const handle = repo.create(value)
    handles.set(handle.url, handle)
    return handle.url
  },
  read: url => handles.get(url).doc(),
  heads: url => Automerge.getHeads(handles.get(url).doc()).length,
  set(url, path, value) {
    handles.get(url).change(document => {
      const [object, step] = place(document, path)
      object[step] = value
    })
    return null
  },
  splice(url, path, edits) {
    const handle = handles.get(url)
    for (const [at, remove, text] of edits) {
      handle.change(document => Automerge.splice(document, path, at, remove, text))
    }
    return null
  },
  /** Edits as of some heads; gives the change's hash. */
  splice_at(url, heads, path, edits) {
    const handle = handles.get(url)
    if (!Automerge.hasHeads(handle.doc(), heads)) throw new Error("not all of these are here yet")
    let made = heads
    handle.update(document => {
      // One after the other: several edits of a text in one change at heads of the past go wrong in Automerge 3.5.
      for (const [at, remove, text] of edits) {
        const { newDoc, newHeads } = Automerge.changeAt(document, made, document => {
          Automerge.splice(document, path, at, remove, text)
        })
        document = newDoc
        made = newHeads
      }
      return document
    })
    return made[0]
  },
  message(url, value) {
    handles.get(url).change(document => {
      document.message = value
    }, { message: value })
    return null
  },
  broadcast(url, value) {
    handles.get(url).broadcast(value)
    return null
  },
  heard: () => heard,
  /** Whether a connection with these headers and parameters is let in: the HTTP status. */
  knock(parameters, headers) {
    return new Promise(resolve => {
      const socket = new WebSocket(url + parameters, { headers })
      socket.on("open", () => {
        socket.terminate()
        resolve(101)
      })
      socket.on("unexpected-response", (_, response) => resolve(response.statusCode))
      socket.on("error", () => {})
    })
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...given] = JSON.parse(line)
  try {
    console.log(JSON.stringify({ ok: (await commands[command](...given)) ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }))
  }
}
process.exit(0)
