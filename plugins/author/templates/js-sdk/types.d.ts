// What plugin.js exports and what it is handed. Written by Skerry: what you change here is lost.

/** A JSON value. Integers lie within 2^53 - 1 of zero; arrays and objects nest at most 64 deep. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What plugin.js exports when it is a resolver: it decides what readers see where concurrent writes met. */
export interface Resolver {
  /** What it wants handed. */
  wants: Wants;
  /**
   * Decides about all conflicts of one document at once; they come in the order of their paths. Equal conflicts must
   * give equal resolutions. To decide nothing, throw an Error with one sentence for whoever reads the document: its
   * conflicts stay open and the view takes the built-in order.
   */
  resolve(conflicts: Conflict[]): Resolution;
}

/** What a resolver says of itself. */
export interface Wants {
  /**
   * JSON Pointers (RFC 6901) of the fields it decides, each with everything below it, at most 64; without them, every
   * field. Conflicts elsewhere take the built-in order.
   */
  paths?: string[];
  /** Whether each conflict should carry its ancestor. */
  ancestor?: boolean;
}

/** One place of a document where concurrent writes met. */
export interface Conflict {
  /** Where, as a JSON Pointer (RFC 6901). */
  path: string;
  /** The JSON value that every candidate replaced, if it was asked for and there is exactly one; else undefined. */
  ancestor?: any;
  /** What was written, in an order that is the same on every replica; at least two. */
  candidates: Candidate[];
}

/** One writer's value where concurrent writes met. */
export interface Candidate {
  /** The JSON value it wrote. */
  value: any;
  /** The replica that wrote it: its id, or the hexadecimal Automerge actor of a client that has none. */
  origin: string;
  /** The writing change's number among its actor's changes to the document, from 1. */
  sequence: number;
  /** When it was written, in milliseconds since 1970. Two writers may give the same time. */
  time: number;
}

/** What a resolver decides about one conflict: the candidate at this place from 0, a value of its own, or no field. */
export type Choice = { candidate: number } | { value: Json } | { remove: true };

/** What a resolver decides about a document. */
export interface Resolution {
  /** One choice for each conflict, in their order. */
  choices: Choice[];
  /**
   * Fields added at the top level of what readers see, to tell them about the outcome: at most 32, each name 1 to 64
   * bytes, without `/`. A field that the document has itself is left alone.
   */
  notes?: { [name: string]: Json };
}

/**
 * What plugin.js exports when it is a merge policy: it defines a kind of document whose concurrent states merge by
 * themselves.
 *
 * A state is a JSON value, and states that mean the same must be equal: keep a set as the keys of an object or as a
 * sorted array. Keys of objects need no order. The fuel of one call lasts for states of some 50 KB.
 */
export interface MergePolicy<State = any, Operation = any> {
  /** The version of the state's shape, from 1. */
  stateVersion: number;
  /** The state of a document that nobody has written to. */
  empty(): State;
  /**
   * The state after one operation. Called once for each, at the replica that made it; all others only merge. The new
   * state must be at or above the old one: merging the two gives the new one. The operation is any JSON value that a
   * client sent, so check it; to refuse it, throw an Error with one sentence for whoever sent it.
   */
  apply(state: State, operation: Operation, context: Context): State;
  /** The least state that holds both: merge(a, b) equals merge(b, a), merge(a, a) equals a, grouping is no matter. */
  merge(a: State, b: State): State;
  /** What readers see: a JSON object. */
  view(state: State): { [key: string]: Json };
  /** Operations that `apply` accepts on the empty state and after one another, 1 to 256. */
  examples(): Operation[];
  /**
   * A state of an older version in the present one; commutes with `merge`. Throw an Error when there is no such
   * version. Without this function there is none.
   */
  migrate?(from: number, state: any): State;
}

/** Who made an operation, and when. */
export interface Context {
  /** The replica's id. */
  origin: string;
  /** Which run of the replica's numbers this is, from 1. A higher one's entry replaces a lower one's. */
  incarnation: number;
  /** The operation's number among the replica's operations on the document in this incarnation, from 1. */
  sequence: number;
  /** The replica's clock as corrected by the core's, in milliseconds since 1970. */
  time: number;
}
