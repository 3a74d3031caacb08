import { redisForTests } from '../redis-for-tests.ts';
import { sequencesOf } from './sequences.ts';

const server = redisForTests({ emptied: 'once' });

sequencesOf(
  server,
  {
    name: 'starting',
    sequences: 650,
    most: 3,
    stories: {
      'a life': 1,
      'an off': 2,
      'a slow start': 2,
      'a voided grant': 2,
      'a grant': 1,
      'a budget': 1,
    },
    weights: {
      propose: 10,
      click: 8,
      vote: 4,
      'deliver again': 1,
      edit: 1,
      'give grant': 2,
      'revoke grant': 1,
      attempt: 12,
      'deliver a job': 4,
      'end the call': 2,
      'time is over': 2,
      sweep: 1,
      off: 5,
      on: 7,
      'permits lapse': 2,
      'renew permits': 2,
      'forget scripts': 1,
      restart: 1,
      befall: 1,
    },
    reaches: {
      runs: 15,
      'switch.off': 200,
      'switch.on': 300,
      'proposal.halted': 100,
      'grant.used': 40,
      'by policy': 80,
    },
  },
  '[switch:off-means-no-start] [switch:off-then-on-resurrects-nothing] [approval:single-use] [audit:every-transition] whatever is started while writes go off and on: nothing runs twice, unapproved or after off',
);
